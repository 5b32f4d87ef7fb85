"""FinalModel: the model that is exported, trained on more songs, with its temperature and the distance from songs.

The tested model was trained without the test split. A head that is not trained by gradients is trained again on all
songs, of which a small library has few. The head runs over the cached features, so the backbone is not run
again.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from tfx import types
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.tables import json_line
from tumbao.components.song_evaluation import (
    PREDICTIONS_FILE,
    SongFigures,
    predict_records,
    read_song_metrics,
    run_on_records,
)
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.serving.model_info import DistanceRule
from tumbao.serving.signatures import save
from tumbao.trainer.dataset import Records
from tumbao.trainer.distance import Distance, HiddenFeatures, distance_rule, to_keras
from tumbao.trainer.fit import HEAD_FILE, HISTORY_FILE, load_head, train_head
from tumbao.trainer.model import final_model, joined, last_features, without_loops
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training
from tumbao.trainer.weights import weights_file

RULE_FILE, TRAINING_FILE = "distance_rule.json", "trained_on.json"


class FinalFigures(types.Artifact):
    """The files `predictions.jsonl`, of every test fragment, `distance_rule.json`, and `trained_on.json`."""

    TYPE_NAME = "tumbao.FinalFigures"


class TrainedOn(NamedTuple):
    """Splits that a model was trained on, and composed songs that joined them, with their relative total weight."""

    splits: Sequence[str]
    composed_songs: int
    composed_weight: float


@tfx.dsl.components.component
def FinalModel(  # noqa: N802 - TFX names components so
    features: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    model_run: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelRun],
    figures: tfx.dsl.components.InputArtifact[SongFigures],
    model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model],
    final_figures: tfx.dsl.components.OutputArtifact[FinalFigures],
    trainer: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
) -> None:
    """Save the head with its backbone, the temperature of SongEvaluation and a distance.

    `features` are those that the head was trained on, `model_run` has the head, `figures` the temperature; `trainer` is
    the Trainer's custom configuration as JSON, see `trainer.run.run_fn`; its `refit` lists the splits to train the head
    again on, none to keep it. `code` is part of TFX's cache key.
    """
    config: dict[str, Any] = json.loads(trainer)
    spec, training = find_model(config["model"]), Training(**config["training"])
    patterns = {split: f"{artifact_utils.get_split_uri([features], split)}/*.gz" for split in SPLITS}
    head = load_head(f"{model_run.uri}/{HEAD_FILE}")
    history = json.loads(as_path(f"{model_run.uri}/{HISTORY_FILE}").read_bytes())
    if config["refit"]:
        head, history = _refit(spec, training, config, patterns, head.input_shape[1:])
    temperature = read_song_metrics(figures.uri).calibration.temperature
    found = _distance(head, patterns)
    distance = to_keras(found[0]) if found else None
    backbone = spec.backbone_for(training).build(weights_file(config["weights"]), "float32")
    whole = joined(backbone, without_loops(head))
    final = final_model(whole, temperature, distance)
    mel_spec = MelSpec(**config["mel_spec"])
    save(whole, path_utils.serving_model_dir(model.uri), config["genres"], mel_spec, final)
    outputs = final_model(head, temperature, distance)
    rows = ({"split": "test"} | one for one in predict_records(outputs, patterns["test"]))
    io_utils.write_bytes_file(f"{final_figures.uri}/{PREDICTIONS_FILE}", "".join(map(json_line, rows)).encode())
    fit = history.get("fit", {})
    trained_on = TrainedOn(
        splits=config["refit"] or (["train", "val"] if fit else ["train"]),
        composed_songs=fit.get("composed_songs", 0),
        composed_weight=fit.get("composed_weight", 0.0),
    )
    io_utils.write_bytes_file(f"{final_figures.uri}/{TRAINING_FILE}", json.dumps(trained_on._asdict()).encode())
    rule = dataclasses.asdict(found[1]) if found else None
    io_utils.write_bytes_file(f"{final_figures.uri}/{RULE_FILE}", json.dumps(rule, indent=1).encode())


def _refit(
    spec: ModelSpec, training: Training, config: Mapping[str, Any], patterns: Mapping[str, str], shape: tuple[int, ...]
) -> tuple[keras.Model, dict[str, Any]]:
    genres = config["genres"]
    songs = Records([patterns[split] for split in config["refit"]], shape, len(genres))
    val = Records([patterns["val"]], shape, len(genres))
    return train_head(spec, songs, val, training, shape=shape, genres=genres, weights=config["weights"])


def _distance(head: keras.Model, patterns: Mapping[str, str]) -> tuple[Distance, DistanceRule] | None:
    """Fit the distance to songs; None if the head has no hidden features or there are too few songs.

    Hidden features that do not depend on the training are those of all songs; otherwise validation songs decide.
    """
    features = last_features(head)
    if features is None:
        return None
    hidden = keras.Model(head.inputs[0], features)
    parts = {split: _hidden_features(hidden, pattern) for split, pattern in patterns.items()}
    if hidden.trainable_weights:
        return distance_rule(parts["train"], parts["val"])
    return distance_rule(HiddenFeatures(*map(np.concatenate, zip(*parts.values(), strict=True))), None)


def _hidden_features(hidden: keras.Model, pattern: str) -> HiddenFeatures:
    """Compute the features of each fragment once, without masked copies."""
    found: dict[tuple[bytes, int], tuple[np.ndarray, int, str]] = {}
    for fragments, outputs in run_on_records(hidden, pattern):
        for fragment, output in zip(fragments, outputs, strict=True):
            name = fragment[record.SONG]
            found.setdefault((name, fragment[record.FRAGMENT]), (output, fragment[record.LABEL], name.decode()))
    return HiddenFeatures(*map(np.array, zip(*found.values(), strict=True)))


def read_trained_on(final_figures: str) -> TrainedOn:
    """Read what the model was trained on from the folder of a `FinalFigures` artefact."""
    return TrainedOn(**json.loads(as_path(f"{final_figures}/{TRAINING_FILE}").read_bytes()))


def read_rule(final_figures: str) -> DistanceRule | None:
    """Read the rule from the folder of a `FinalFigures` artefact; None if the model has no distance."""
    values = json.loads(as_path(f"{final_figures}/{RULE_FILE}").read_bytes())
    return values and DistanceRule(**values)

"""SongGate: decide on a model with intervals over songs, beside the Evaluator's thresholds; both must bless it."""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import dataclasses
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf
from pydantic import TypeAdapter
from tfx import types
from tfx import v1 as tfx
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tumbao.components.evaluation.decision import Decision, Songs, compare, decide
from tumbao.components.evaluation.metrics import by_song, prediction
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import decode_image, read_records
from tumbao.components.ingest.tables import json_lines
from tumbao.components.served_baseline import has_model
from tumbao.components.song_evaluation import PREDICTIONS_FILE, SongFigures, read_song_metrics
from tumbao.schema import record
from tumbao.serving.calibration import song_probabilities
from tumbao.serving.signatures import IMAGE, PROBABILITIES

DECISION_FILE = "decision.json"
BATCH = 8  # images in one call of the served model


class SongDecision(types.Artifact):
    """The file `decision.json`, a `Decision`."""

    TYPE_NAME = "tumbao.SongDecision"


@tfx.dsl.components.component
def SongGate(  # noqa: N802 - TFX names components so
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    figures: tfx.dsl.components.InputArtifact[SongFigures],
    evaluator_blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    decision: tfx.dsl.components.OutputArtifact[SongDecision],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    genres: tfx.dsl.components.Parameter[str],
    gate: tfx.dsl.components.Parameter[str],
    cross_validation: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
    baseline: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model] = None,  # optional
) -> None:
    """Decide on the model and bless it if the Evaluator did too.

    Parameters
    ----------
    examples : Examples
        Records with mel images, for the served model.
    figures : SongFigures
        Output of SongEvaluation, with the model's predictions and its temperature.
    evaluator_blessing : ModelBlessing
        Decision of the Evaluator.
    decision : SongDecision
        Output: the decision and its reasons.
    blessing : ModelBlessing
        Output: both decisions together. An undecided model is blessed only if `gate` says so.
    genres : str
        JSON list in the order of the labels.
    gate : str
        JSON with `min_accuracy`, `min_recall` and `push_undecided`, and `nearest`, the accuracy of the nearest
        neighbour or null.
    cross_validation : str
        File with the predictions of the songs that are not test songs; empty without cross-validation.
    code : str
        Hash of the source this depends on; not read here, it is part of TFX's cache key.
    baseline : Model, optional
        The served model; none or an empty folder if there is none.
    """
    names, settings = json.loads(genres), json.loads(gate)
    temperature = read_song_metrics(figures.uri).calibration.temperature
    lines = [line for line in json_lines(f"{figures.uri}/{PREDICTIONS_FILE}") if line["split"] == "test"]
    validated = by_song(json_lines(cross_validation)) if cross_validation else {}
    tested = by_song(lines)
    labels, predicted = answers({**validated, **tested}, temperature)
    comparison = None
    if baseline is not None and has_model(baseline):
        folder = artifact_utils.get_split_uri([examples], "test")
        served = by_song(_predict(path_utils.serving_model_path(baseline.uri), folder))
        theirs = answers({song: served[song] for song in tested}, None)[1]
        comparison = compare(labels[len(validated) :], predicted[len(validated) :], theirs)
    found = decide(
        Songs(labels, predicted, len(validated)),
        names,
        min_accuracy=settings["min_accuracy"],
        min_recall=settings["min_recall"],
        nearest=settings["nearest"],
        comparison=comparison,
    )
    text = json.dumps(dataclasses.asdict(found), indent=1)
    io_utils.write_bytes_file(f"{decision.uri}/{DECISION_FILE}", text.encode())
    passed = found.outcome == "blessed" or (found.outcome == "undecided" and settings["push_undecided"])
    blessed = passed and bool(fileio.exists(f"{evaluator_blessing.uri}/BLESSED"))
    io_utils.write_bytes_file(f"{blessing.uri}/{'BLESSED' if blessed else 'NOT_BLESSED'}", b"")
    blessing.set_int_custom_property("blessed", int(blessed))
    number = evaluator_blessing.get_int_custom_property("current_model_id")  # for the baseline of later runs
    blessing.set_int_custom_property("current_model_id", number)


def read_decision(folder: str) -> Decision:
    """Read the decision from the folder of a `SongDecision` artefact."""
    return TypeAdapter(Decision).validate_json(as_path(f"{folder}/{DECISION_FILE}").read_bytes())


def answers(songs: Mapping[str, tuple[np.ndarray, int]], temperature: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return label and predicted label of each song, int [n]."""
    probabilities = song_probabilities([fragments for fragments, _ in songs.values()], temperature)
    return np.array([label for _, label in songs.values()]), probabilities.argmax(axis=1)


def _predict(saved_model: str, folder: str) -> Iterator[dict[str, Any]]:
    """Predict the fragments of a split with a SavedModel."""
    signature = tf.saved_model.load(saved_model).signatures[IMAGE]
    records = read_records(f"{folder}/*.gz")
    while fragments := list(islice(records, BATCH)):
        images = np.stack([decode_image(one[record.IMAGE]) for one in fragments])
        for one, probabilities in zip(fragments, signature(image=images)[PROBABILITIES].numpy(), strict=True):
            song = one[record.SONG].decode()
            yield prediction(song, one[record.FRAGMENT], one[record.LABEL], probabilities=probabilities)

"""SongEvaluation: metrics and calibration of whole songs, before the export.

The head runs over the cached features, so the backbone is not run again. Where the backbone ran in bfloat16, its
rounding is included in these metrics.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from tfx import types
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.utils import io_utils

from tumbao.components.evaluation.metrics import SongMetrics, by_song, prediction, song_metrics
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import BACKBONE_DTYPE, read_records
from tumbao.components.ingest.tables import json_line, json_lines
from tumbao.schema import record
from tumbao.serving.model_info import PROBABILITIES
from tumbao.trainer.fit import HEAD_FILE, load_head

METRICS_FILE, PREDICTIONS_FILE = "song_metrics.json", "predictions.jsonl"
BATCH = 256  # fragments in one prediction batch


class SongFigures(types.Artifact):
    """The files `song_metrics.json` and `predictions.jsonl`, the head's for every validation and test fragment."""

    TYPE_NAME = "tumbao.SongFigures"


@tfx.dsl.components.component
def SongEvaluation(  # noqa: N802 - TFX names components so
    features: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    model_run: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelRun],
    figures: tfx.dsl.components.OutputArtifact[SongFigures],
    genres: tfx.dsl.components.Parameter[str],
    cross_validation: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
) -> None:
    """Calibrate, and evaluate test songs.

    `features` are records with the backbone's output, `model_run` has the head, `genres` is JSON in the order of
    the labels. `cross_validation` is the file with the predictions of cross-validation, which calibrate; if it is
    empty, those of the validation songs do. `code` is part of TFX's cache key.
    """
    model = load_head(f"{model_run.uri}/{HEAD_FILE}")
    predictions = {
        split: list(predict_records(model, f"{artifact_utils.get_split_uri([features], split)}/*.gz"))
        for split in ("val", "test")
    }
    held_out = json_lines(cross_validation) if cross_validation else predictions["val"]
    val_songs, val_labels = zip(*by_song(held_out).values(), strict=True)
    songs, labels = zip(*by_song(predictions["test"]).values(), strict=True)
    metrics = song_metrics(val_songs, np.array(val_labels), songs, np.array(labels), json.loads(genres))
    names = sorted({one["song"] for answers in predictions.values() for one in answers})
    numbers = {name: number for number, name in enumerate(names, start=1)}
    rows = [
        {"split": split, "number": numbers[one["song"]]} | one
        for split, answers in predictions.items()
        for one in answers
    ]
    text = json.dumps(metrics.to_json(), indent=1, ensure_ascii=False)
    io_utils.write_bytes_file(f"{figures.uri}/{METRICS_FILE}", text.encode())
    io_utils.write_bytes_file(f"{figures.uri}/{PREDICTIONS_FILE}", "".join(map(json_line, rows)).encode())


def read_song_metrics(figures: str) -> SongMetrics:
    """Read the metrics from the folder of a `SongFigures` artefact."""
    return TypeAdapter(SongMetrics).validate_json(as_path(f"{figures}/{METRICS_FILE}").read_bytes())


def predict_records(model: Any, pattern: str) -> Iterator[dict[str, Any]]:
    """Yield a line for each record of a backbone's features: song, fragment, label and the outputs of a head by name.

    A single output has the name `probabilities`.
    """
    for fragments, outputs in run_on_records(model, pattern):
        if not isinstance(outputs, dict):
            outputs = {PROBABILITIES: outputs}
        for index, one in enumerate(fragments):
            of_fragment = {name: output[index] for name, output in outputs.items()}
            yield prediction(one[record.SONG].decode(), one[record.FRAGMENT], one[record.LABEL], **of_fragment)


def run_on_records(model: Any, pattern: str) -> Iterator[tuple[list[dict[str, Any]], Any]]:
    """Run a model over records of a backbone's features: yield the records of each batch with its outputs."""
    records, shape = read_records(pattern), model.input_shape[1:]
    while fragments := list(islice(records, BATCH)):
        stored = [np.frombuffer(one[record.BACKBONE], BACKBONE_DTYPE).reshape(shape) for one in fragments]
        yield fragments, model.predict_on_batch(np.stack(stored).astype(np.float32))

"""MobileCheck: compare every exported variant with the float model; nothing is pushed if one differs.

The float model is the SavedModel's image signature, on every fragment of the test split. The classifiers in LiteRT,
which phones run, are compared on every fragment too; the other variants on `SAMPLE` fragments, those that take a
waveform with audio decoded again from the songs. Without a browser, the report has the reason. Each signature is also
called as TensorFlow Serving would, in a fresh process.
"""
# No `from __future__ import annotations` here: TFX reads the annotations of a function component at run time.

import json
import logging
import statistics
import time
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np
from tfx import types
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from tumbao.components.evaluation.parity import (
    BROWSER,
    LITERT,
    SIZE_LIMITS_BYTES,
    Artefact,
    agreement,
    classifier_in_browser,
    classifiers,
    keras_model,
    signatures,
    tflite_files,
    waveforms,
)
from tumbao.components.ingest import progress
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import decode_image, read_records, to_example
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.browser import BrowserError, BrowserUnavailableError
from tumbao.serving.model_info import AUDIO_FILE, preferred
from tumbao.serving.model_server import ServingError, replay
from tumbao.serving.signatures import IMAGE
from tumbao.trainer.run import HEAD_FILE

SAMPLE = 5
"""Fragments for slow variants and for those that need audio: the first of each song, from all genres in turn."""

_FIGURES = ("agreement", "accuracy", "float_accuracy", "max_probability_difference", "milliseconds")


class AgreementReport(types.Artifact):
    """The files `agreement.json` (a row for each variant) and `predictions.jsonl` (float model, all test fragments)."""

    TYPE_NAME = "tumbao.AgreementReport"


@tfx.dsl.components.component
def MobileCheck(  # noqa: N802 - TFX names components so
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    model_run: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelRun],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
    report: tfx.dsl.components.OutputArtifact[AgreementReport],
    manifests: tfx.dsl.components.Parameter[str],
    mel_spec: tfx.dsl.components.Parameter[str],
    backbone: tfx.dsl.components.Parameter[str],
    weights: tfx.dsl.components.Parameter[str],
    code: tfx.dsl.components.Parameter[str],
) -> None:
    """Compare every variant with the SavedModel on the test split, and bless or veto.

    Parameters
    ----------
    model : Model
        Output of EdgeExport.
    model_run : ModelRun
        Output of the Trainer, with the head.
    examples : Examples
        Records with mel images.
    blessing : InfraBlessing
        Output: the Pusher pushes only if it is blessed.
    report : AgreementReport
        Output: the figures.
    manifests : str
        Folder of `library.write_manifests`, with the paths of the songs.
    mel_spec : str
        Parameters of the mel images as JSON.
    backbone : str
        A key of `BACKBONES`.
    weights : str
        File of its weights; empty for random ones.
    code : str
        Hash of the source this depends on; not read here, it is part of TFX's cache key.
    """
    saved_model = path_utils.serving_model_path(model.uri)
    fragments = list(read_records(f"{artifact_utils.get_split_uri([examples], 'test')}/*.gz"))
    labels = np.array([fragment[record.LABEL] for fragment in fragments])
    sample = _sample(fragments)
    heard = [(fragments[index][record.SONG].decode(), fragments[index][record.FRAGMENT]) for index in sample]
    sounds = dict(zip(sample, waveforms(f"{manifests}/test.csv", heard, MelSpec(**json.loads(mel_spec))), strict=True))
    count = len(classifiers(saved_model))
    progress.start("compare", (1 + count) * len(fragments) + (6 + count) * len(sample) + 1)
    rows = []
    reference = np.zeros(0)
    keras = keras_model(backbone, weights, f"{model_run.uri}/{HEAD_FILE}")
    for artefact in chain(signatures(saved_model), keras, tflite_files(saved_model)):
        first = not len(reference)
        everywhere = first or (artefact.through == LITERT and artefact.takes == "image")
        chosen = list(range(len(fragments))) if everywhere else sample
        answers, seconds = _answers(artefact, fragments, sounds, chosen)
        if first:
            reference = answers
        rows.append(_row(artefact, reference[chosen], answers, labels[chosen], seconds))
    try:
        with classifier_in_browser(saved_model) as artefact:
            answers, seconds = _answers(artefact, fragments, sounds, sample)
        rows.append(_row(artefact, reference[sample], answers, labels[sample], seconds))
    except BrowserUnavailableError as error:
        logging.warning("No browser was asked: %s", error)
        rows.append(_unmeasured(rows, error.reason, []))
        progress.advance("compare", len(sample))
    except BrowserError as error:
        failure = f"does not answer: {str(error).splitlines()[0]}"
        rows.append(_unmeasured(rows, "it does not answer", [failure]))
    _ask_as_a_server(saved_model, rows)
    progress.advance("compare")
    io_utils.write_bytes_file(f"{report.uri}/agreement.json", json.dumps(rows, indent=1).encode())
    lines = "".join(map(_prediction_line, fragments, reference))
    io_utils.write_bytes_file(f"{report.uri}/predictions.jsonl", lines.encode())
    blessed = not any(row["failures"] for row in rows)
    io_utils.write_bytes_file(f"{blessing.uri}/{'INFRA_BLESSED' if blessed else 'INFRA_NOT_BLESSED'}", b"")
    blessing.set_int_custom_property("blessed", int(blessed))


def check_failure(report: str) -> str:
    """Describe the failures of the mobile check in a sentence.

    Parameters
    ----------
    report : str
        Folder of the `AgreementReport`.

    Returns
    -------
    summary : str
        Each variant that failed, and its failure.
    """
    rows = json.loads(as_path(f"{report}/agreement.json").read_bytes())
    failures = [f"{row['name']} ({row['through']}) {failure}" for row in rows for failure in row["failures"]]
    return f"vetoed by the mobile check: {'; '.join(failures) or 'it reported no reason'}"


def _sample(fragments: Sequence[dict[str, Any]]) -> list[int]:
    """Select fragments: from each genre in turn, the first fragments of all songs before their second ones."""
    by_genre: dict[int, list[int]] = {}
    for index in sorted(range(len(fragments)), key=lambda index: fragments[index][record.FRAGMENT]):
        by_genre.setdefault(fragments[index][record.LABEL], []).append(index)
    turns = [index for turn in zip_longest(*by_genre.values()) for index in turn if index is not None]
    return turns[:SAMPLE]


def _answers(
    artefact: Artefact, fragments: list[dict[str, Any]], sounds: dict[int, np.ndarray], chosen: list[int]
) -> tuple[np.ndarray, float]:
    """Predict the selected fragments; also return the median seconds of one prediction."""
    rows, seconds = [], []
    for index in chosen:
        fragment = fragments[index]
        if artefact.takes == "waveform":
            value = sounds[index]
        elif artefact.takes == "image":
            value = decode_image(fragment[record.IMAGE])
        else:
            value = np.array(_serialized(fragment), object)
        started = time.perf_counter()
        rows.append(artefact.answer(value[np.newaxis])[0])
        seconds.append(time.perf_counter() - started)
        progress.advance("compare")
    return np.stack(rows), statistics.median(seconds)


def _serialized(fragment: dict[str, Any]) -> bytes:
    about = {"genre": fragment[record.GENRE].decode(), "song": fragment[record.SONG].decode(), "padded": False}
    place = {"label": fragment[record.LABEL], "fragment": fragment[record.FRAGMENT], "start_seconds": 0.0}
    return to_example(fragment[record.IMAGE], **about, **place).SerializeToString()


def _row(
    artefact: Artefact, reference: np.ndarray, answers: np.ndarray, labels: np.ndarray, seconds: float
) -> dict[str, Any]:
    result = agreement(reference, answers, labels)
    failures, limit = result.failures, SIZE_LIMITS_BYTES[artefact.name]
    if artefact.size_bytes > limit:
        failures.append(f"has {artefact.size_bytes} bytes, expected at most {limit}")
    return {
        "name": artefact.name,
        "through": artefact.through,
        "precision": artefact.precision,
        "size_bytes": artefact.size_bytes,
        "size_limit_bytes": limit,
        "fragments": len(labels),
        "agreement": result.top1,
        "accuracy": result.accuracy,
        "float_accuracy": result.reference_accuracy,
        "max_probability_difference": result.max_difference,
        "milliseconds": 1_000 * seconds,
        "failures": failures,
        "not_measured": None,
    }


def _unmeasured(rows: list[dict[str, Any]], reason: str, failures: list[str]) -> dict[str, Any]:
    """Create the browser's row without figures, with the file's data from its row in LiteRT."""
    found = {row["precision"]: row for row in rows if row["through"] == LITERT and row["name"] != AUDIO_FILE}
    row = found[preferred(found)]
    told = {"through": BROWSER, "fragments": 0, "failures": failures, "not_measured": reason}
    return row | dict.fromkeys(_FIGURES) | told


def _ask_as_a_server(saved_model: str, rows: list[dict[str, Any]]) -> None:
    """Add failures behind TensorFlow Serving to the signatures' rows, which come first."""
    doors = {row["through"]: row for row in rows if row["name"] == "SavedModel"}
    try:
        found = replay(saved_model)
    except ServingError as error:
        found = {IMAGE: [f"cannot be loaded: {str(error).splitlines()[-1]}"]}
    for door, failures in found.items():
        row = doors.get(f"signature {door}", rows[0])
        row["failures"] += [f"behind TensorFlow Serving {failure}" for failure in failures]


def _prediction_line(fragment: dict[str, Any], probabilities: np.ndarray) -> str:
    line = {
        "song": fragment[record.SONG].decode(),
        "fragment": fragment[record.FRAGMENT],
        "label": fragment[record.LABEL],
        "probabilities": [round(float(value), 7) for value in probabilities],
    }
    return json.dumps(line) + "\n"

"""Compare the predictions of exported variants of a model with those of the float model.

Probabilities are [n, genres], one row for each fragment; labels are indexes [n].
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tumbao.components.ingest import progress
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.records import decode_image, to_example
from tumbao.components.ingest.tables import table_rows
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.browser import open_in_browser
from tumbao.serving.model_info import ASSETS_FOLDER, AUDIO_FILE, CLASSIFIER_FILES, preferred
from tumbao.serving.signatures import EXAMPLES, IMAGE, PROBABILITIES, WAVEFORM
from tumbao.trainer.backbones import BACKBONES
from tumbao.trainer.fit import load_head
from tumbao.trainer.model import joined
from tumbao.trainer.weights import weights_file

MIN_AGREEMENT = 0.98
"""Smallest share of fragments with the same predicted genre."""

MAX_ACCURACY_DROP = 0.01
"""Largest allowed decrease of the accuracy against the float model."""

SAMPLE = 5
"""Number of fragments for slow variants and for those that take a waveform."""

SIZE_LIMITS_BYTES = {
    "SavedModel": 150_000_000,
    "Keras model": 150_000_000,
    CLASSIFIER_FILES["float16"]: 73_000_000,
    CLASSIFIER_FILES["dynamic"]: 37_000_000,
    CLASSIFIER_FILES["int8"]: 37_000_000,
    AUDIO_FILE: 39_500_000,
}
"""Largest allowed size of each variant."""

LITERT, TENSORFLOW, BROWSER = "LiteRT", "TensorFlow's interpreter", "browser (LiteRT.js)"
"""Runtimes for .tflite files."""

InputKind = Literal["image", "waveform", "examples"]
"""Input of a variant: a mel image, a fragment's samples or a serialized record."""

_THREADS = 2
_FIGURES = ("agreement", "accuracy", "float_accuracy", "max_probability_difference", "milliseconds")


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of a variant with the float model.

    `top1` is the share of fragments with the same predicted genre; `max_difference` is the largest absolute difference
    of a probability.
    """

    top1: float
    max_difference: float
    reference_accuracy: float
    accuracy: float

    @property
    def failures(self) -> list[str]:
        """Description of each limit that is exceeded; empty if there is none."""
        failures = []
        if self.top1 < MIN_AGREEMENT:
            failures.append(
                f"predicts the float model's genre for {self.top1:.1%} of the fragments, expected {MIN_AGREEMENT:.0%}"
            )
        if self.accuracy < self.reference_accuracy - MAX_ACCURACY_DROP - 1e-9:
            failures.append(
                f"has an accuracy of {self.accuracy:.1%}, expected at least "
                f"{self.reference_accuracy - MAX_ACCURACY_DROP:.1%} (the float model's {self.reference_accuracy:.1%} "
                f"less {100 * MAX_ACCURACY_DROP:.0f} point)"
            )
        return failures


def agreement(reference: np.ndarray, candidate: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare the probabilities of a variant with those of the float model for the same fragments, at least one.

    Examples
    --------
    >>> agreement(np.array([[0.9, 0.1]]), np.array([[0.8, 0.2]]), np.array([0])).top1
    1.0
    """
    if reference.shape != candidate.shape or len(labels) != len(reference) or not len(labels):
        raise ValueError(
            "Expected probabilities of the same fragments, at least one, with a label each. "
            f"Received shapes: reference={reference.shape}, candidate={candidate.shape}, labels={labels.shape}"
        )
    first, second = reference.argmax(axis=1), candidate.argmax(axis=1)
    return Agreement(
        top1=float((first == second).mean()),
        max_difference=float(np.abs(reference - candidate).max()),
        reference_accuracy=float((first == labels).mean()),
        accuracy=float((second == labels).mean()),
    )


@dataclasses.dataclass(frozen=True)
class ModelVariant:
    """One exported variant of the model.

    `name` is a .tflite's file name, `SavedModel` or `Keras model`; `runtime` is the signature or interpreter that runs
    it; `precision` is "float32", "float16", "dynamic" or "int8"; `predict` maps a batch of one input to probabilities
    [1, genres].
    """

    name: str
    runtime: str
    precision: str
    size_bytes: int
    input_kind: InputKind
    predict: Callable[[np.ndarray], np.ndarray]


def signatures(saved_model: str) -> Iterator[ModelVariant]:
    """Yield the signatures of a SavedModel, the image signature first."""
    loaded = tf.saved_model.load(saved_model)
    files = [f"{saved_model}/saved_model.pb", *tf.io.gfile.glob(f"{saved_model}/variables/*")]
    size = sum(tf.io.gfile.stat(file).length for file in files)
    kinds: dict[str, InputKind] = {IMAGE: "image", EXAMPLES: "examples", WAVEFORM: "waveform"}
    for name, kind in kinds.items():
        signature = loaded.signatures[name]

        def predict(value: np.ndarray, signature: Any = signature, kind: str = kind) -> np.ndarray:
            return signature(**{kind: tf.constant(value)})[PROBABILITIES].numpy()

        yield ModelVariant("SavedModel", f"signature {name}", "float32", size, kind, predict)


def keras_model(backbone: str, weights: str, head_file: str) -> Iterator[ModelVariant]:
    """Yield the Keras model as it was trained.

    `backbone` is a key of `BACKBONES`; `weights` is the file of its weights, empty for random ones; `head_file` is the
    head saved by the Trainer.
    """
    frozen = BACKBONES[backbone].build(weights_file(weights), "float32")
    model = joined(frozen, load_head(head_file))
    size = sum(variable.value.numpy().nbytes for variable in model.variables)
    yield ModelVariant(
        "Keras model", "Keras", "float32", size, "image", lambda image: model(image, training=False).numpy()
    )


def classifiers(saved_model: str) -> dict[str, str]:
    """Return the classifier files beside a SavedModel: precision → file name."""
    folder = f"{saved_model}/{ASSETS_FOLDER}"
    return {key: name for key, name in CLASSIFIER_FILES.items() if tf.io.gfile.exists(f"{folder}/{name}")}


def tflite_files(saved_model: str) -> Iterator[ModelVariant]:
    """Yield the .tflite files beside a SavedModel, each in both interpreters (LiteRT first) and loaded when reached."""
    found = classifiers(saved_model)
    files: list[tuple[str, str, InputKind]] = [(name, precision, "image") for precision, name in found.items()]
    files.append((AUDIO_FILE, preferred(found), "waveform"))
    for name, precision, kind in files:
        content = _read(saved_model, name)
        for runtime, interpreter in ((LITERT, Interpreter), (TENSORFLOW, tf.lite.Interpreter)):
            runner = interpreter(model_content=content, num_threads=_THREADS).get_signature_runner(kind)

            def predict(value: np.ndarray, runner: Any = runner, kind: str = kind) -> np.ndarray:
                return runner(**{kind: value})[PROBABILITIES]

            yield ModelVariant(name, runtime, precision, len(content), kind, predict)


@contextlib.contextmanager
def classifier_in_browser(saved_model: str) -> Iterator[ModelVariant]:
    """Load the preferred classifier in a headless Chromium, which ends with the context.

    Raises `BrowserUnavailableError` if there is no Chromium, it does not start, or LiteRT.js was not bundled, and
    `BrowserError` if the file cannot be loaded.
    """
    precision = preferred(classifiers(saved_model))
    name = CLASSIFIER_FILES[precision]
    content = _read(saved_model, name)
    with open_in_browser([content], IMAGE, PROBABILITIES) as predict:
        yield ModelVariant(name, BROWSER, precision, len(content), "image", predict)


def _read(saved_model: str, name: str) -> bytes:
    return as_path(f"{saved_model}/{ASSETS_FOLDER}/{name}").read_bytes()


def waveforms(manifest: str, fragments: Sequence[tuple[str, int]], spec: MelSpec) -> np.ndarray:
    """Decode fragments again from the songs' files: mono samples in [-1, 1], float32 [n, fragment_samples].

    `manifest` is a split's manifest of `library.write_manifests`; `fragments` holds song and fragment number as in the
    records. Raises AudioError if a song cannot be read or has changed since ingest.
    """
    rows = table_rows(manifest)
    with WorkerPool() as pool:
        return np.stack([_waveform(pool, rows, song, number, spec) for song, number in fragments])


def _waveform(pool: WorkerPool, rows: list[dict[str, str]], song: str, number: int, spec: MelSpec) -> np.ndarray:
    parts = [row for row in rows if row["song"] == song and int(row["first"]) <= number]
    row = max(parts, key=lambda row: int(row["first"]))  # the part that contains the fragment
    part = AudioSegment(row["path"], float(row["start"]), float(row["end"]) if row["end"] else None)
    for item in read_song(pool, part, spec, row["sha256"]):
        if isinstance(item, Fragment) and item.index == number - int(row["first"]):
            return item.samples
    raise ValueError(f"{row['path']}: expected a fragment number {number}, as in its record. Received: fewer")


def sample_fragments(fragments: Sequence[dict[str, Any]]) -> list[int]:
    """Select `SAMPLE` fragments: from each genre in turn, the first fragments of all songs before their second ones."""
    by_genre: dict[int, list[int]] = {}
    for index in sorted(range(len(fragments)), key=lambda index: fragments[index][record.FRAGMENT]):
        by_genre.setdefault(fragments[index][record.LABEL], []).append(index)
    turns = [index for turn in zip_longest(*by_genre.values()) for index in turn if index is not None]
    return turns[:SAMPLE]


def predict_fragments(
    variant: ModelVariant, fragments: list[dict[str, Any]], sounds: dict[int, np.ndarray], chosen: list[int]
) -> tuple[np.ndarray, float]:
    """Predict the selected fragments; also return the median seconds of one prediction."""
    rows, seconds = [], []
    for index in chosen:
        if variant.input_kind == "waveform":
            value = sounds[index]
        elif variant.input_kind == "image":
            value = decode_image(fragments[index][record.IMAGE])
        else:
            value = np.array(_serialized(fragments[index]), object)
        started = time.perf_counter()
        rows.append(variant.predict(value[np.newaxis])[0])
        seconds.append(time.perf_counter() - started)
        progress.advance("compare")
    return np.stack(rows), statistics.median(seconds)


def _serialized(fragment: dict[str, Any]) -> bytes:
    names = {"genre": fragment[record.GENRE].decode(), "song": fragment[record.SONG].decode(), "padded": False}
    numbers = {"label": fragment[record.LABEL], "fragment": fragment[record.FRAGMENT], "start_seconds": 0.0}
    return to_example(fragment[record.IMAGE], **names, **numbers).SerializeToString()


def report_row(
    variant: ModelVariant, reference: np.ndarray, answers: np.ndarray, labels: np.ndarray, seconds: float
) -> dict[str, Any]:
    """Return a variant's row of `agreement.json`."""
    result = agreement(reference, answers, labels)
    failures, limit = result.failures, SIZE_LIMITS_BYTES[variant.name]
    if variant.size_bytes > limit:
        failures.append(f"has {variant.size_bytes} bytes, expected at most {limit}")
    return {
        "name": variant.name,
        "through": variant.runtime,
        "precision": variant.precision,
        "size_bytes": variant.size_bytes,
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


def unmeasured_row(rows: list[dict[str, Any]], reason: str, failures: list[str]) -> dict[str, Any]:
    """Return the browser's row without figures, with the file's data from its row in LiteRT."""
    in_litert = {row["precision"]: row for row in rows if row["through"] == LITERT and row["name"] != AUDIO_FILE}
    row = in_litert[preferred(in_litert)] | dict.fromkeys(_FIGURES)
    return row | {"through": BROWSER, "fragments": 0, "failures": failures, "not_measured": reason}


def prediction_line(fragment: dict[str, Any], probabilities: np.ndarray) -> str:
    """Return a fragment's line of `predictions.jsonl`."""
    line = {
        "song": fragment[record.SONG].decode(),
        "fragment": fragment[record.FRAGMENT],
        "label": fragment[record.LABEL],
        "probabilities": [round(float(value), 7) for value in probabilities],
    }
    return json.dumps(line) + "\n"


def check_failure(report: str) -> str:
    """Describe the failures in the `AgreementReport` of the folder `report` in a sentence."""
    rows = json.loads(as_path(f"{report}/agreement.json").read_bytes())
    failures = [f"{row['name']} ({row['through']}) {failure}" for row in rows for failure in row["failures"]]
    return f"vetoed by the mobile check: {'; '.join(failures) or 'it reported no reason'}"

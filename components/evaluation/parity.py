"""Comparison of an exported variant's predictions with those of the model that it was made from.

Probabilities are [n, genres], one row for each fragment, both sides in the same order; labels are indexes [n].
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment
from tumbao.components.ingest.manifest import table_rows
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.browser import in_browser
from tumbao.serving.model_info import ASSETS_FOLDER, AUDIO_FILE, CLASSIFIER_FILES, preferred
from tumbao.serving.signatures import EXAMPLES, IMAGE, PROBABILITIES, WAVEFORM
from tumbao.trainer.backbones import BACKBONES
from tumbao.trainer.model import joined
from tumbao.trainer.run import load_head
from tumbao.trainer.weights import weights_file

MIN_AGREEMENT = 0.98
"""Smallest share of fragments for which both sides must have the same top genre."""

MAX_ACCURACY_DROP = 0.01
"""Largest allowed decrease of the accuracy against the model."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of a variant's predictions with the model's.

    Parameters
    ----------
    top1 : float
        Share of fragments for which both have the same top genre, in 0..1.
    max_difference : float
        Largest absolute difference of a probability.
    reference_accuracy : float
        Accuracy of the model.
    accuracy : float
        Accuracy of the variant.
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
                f"names the float model's genre on {self.top1:.1%} of the fragments, expected {MIN_AGREEMENT:.0%}"
            )
        if self.accuracy < self.reference_accuracy - MAX_ACCURACY_DROP - 1e-9:
            failures.append(
                f"reaches an accuracy of {self.accuracy:.1%}, expected at least "
                f"{self.reference_accuracy - MAX_ACCURACY_DROP:.1%} (the float model's {self.reference_accuracy:.1%} "
                f"less {100 * MAX_ACCURACY_DROP:.0f} point)"
            )
        return failures


def agreement(reference: np.ndarray, candidate: np.ndarray, labels: np.ndarray) -> Agreement:
    """Compare a variant's predictions with the model's.

    Parameters
    ----------
    reference : np.ndarray [shape=(n, genres)]
        Probabilities of the model.
    candidate : np.ndarray [shape=(n, genres)]
        Probabilities of the variant for the same fragments.
    labels : np.ndarray [shape=(n,), dtype=int]
        True labels.

    Returns
    -------
    agreement : Agreement
        The comparison.

    Raises
    ------
    ValueError
        If the shapes do not match or there is no fragment.

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


InputKind = Literal["image", "waveform", "examples"]
"""Input of a variant: a mel image, a fragment's samples or a serialized record."""

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

_THREADS = 2


@dataclasses.dataclass(frozen=True)
class Artefact:
    """One variant of the model.

    `name` is a .tflite's file name, `SavedModel` or `Keras model`; `through` is the signature or interpreter that runs
    it; `precision` is "float32", "float16", "dynamic" or "int8"; `takes` is the kind of input; `answer` maps a batch of
    one input to probabilities [1, genres].
    """

    name: str
    through: str
    precision: str
    size_bytes: int
    takes: InputKind
    answer: Callable[[np.ndarray], np.ndarray]


def signatures(saved_model: str) -> Iterator[Artefact]:
    """Yield the signatures of a SavedModel, the image signature first."""
    loaded = tf.saved_model.load(saved_model)
    files = [f"{saved_model}/saved_model.pb", *tf.io.gfile.glob(f"{saved_model}/variables/*")]
    size = sum(tf.io.gfile.stat(file).length for file in files)
    senses: dict[str, InputKind] = {IMAGE: "image", EXAMPLES: "examples", WAVEFORM: "waveform"}
    for name, sense in senses.items():
        door = loaded.signatures[name]

        def answer(value: np.ndarray, door: Any = door, sense: str = sense) -> np.ndarray:
            return door(**{sense: tf.constant(value)})[PROBABILITIES].numpy()

        yield Artefact("SavedModel", f"signature {name}", "float32", size, sense, answer)


def keras_model(backbone: str, weights: str, head_file: str) -> Iterator[Artefact]:
    """Yield the Keras model as it was trained.

    `backbone` is a key of `BACKBONES`; `weights` is the file of its weights, empty for random ones; `head_file` is the
    head saved by the Trainer.
    """
    frozen = BACKBONES[backbone].build(weights_file(weights), "float32")
    model = joined(frozen, load_head(head_file))
    size = sum(variable.value.numpy().nbytes for variable in model.variables)
    yield Artefact("Keras model", "Keras", "float32", size, "image", lambda image: model(image, training=False).numpy())


def classifiers(saved_model: str) -> dict[str, str]:
    """Return the classifier files beside a SavedModel: precision → file name."""
    folder = f"{saved_model}/{ASSETS_FOLDER}"
    return {key: name for key, name in CLASSIFIER_FILES.items() if tf.io.gfile.exists(f"{folder}/{name}")}


def tflite_files(saved_model: str) -> Iterator[Artefact]:
    """Yield the .tflite files beside a SavedModel, each in both interpreters (LiteRT first) and loaded when reached."""
    there = classifiers(saved_model)
    files: list[tuple[str, str, InputKind]] = [(name, key, "image") for key, name in there.items()]
    files.append((AUDIO_FILE, preferred(there), "waveform"))
    for name, precision, sense in files:
        content = _read(saved_model, name)
        for through, interpreter in ((LITERT, Interpreter), (TENSORFLOW, tf.lite.Interpreter)):
            door = interpreter(model_content=content, num_threads=_THREADS).get_signature_runner(sense)

            def answer(value: np.ndarray, door: Any = door, sense: str = sense) -> np.ndarray:
                return door(**{sense: value})[PROBABILITIES]

            yield Artefact(name, through, precision, len(content), sense, answer)


@contextlib.contextmanager
def classifier_in_browser(saved_model: str) -> Iterator[Artefact]:
    """Load the preferred classifier in a headless Chromium, which ends with the context.

    Raises `BrowserUnavailableError` if there is no Chromium, it does not start, or LiteRT.js was not bundled, and
    `BrowserError` if the file cannot be loaded.
    """
    precision = preferred(classifiers(saved_model))
    name = CLASSIFIER_FILES[precision]
    content = _read(saved_model, name)
    with in_browser([content], IMAGE, PROBABILITIES) as door:
        yield Artefact(name, BROWSER, precision, len(content), "image", door)


def _read(saved_model: str, name: str) -> bytes:
    return as_path(f"{saved_model}/{ASSETS_FOLDER}/{name}").read_bytes()


def waveforms(manifest: str, fragments: Sequence[tuple[str, int]], spec: MelSpec) -> np.ndarray:
    """Decode fragments of songs to mono samples in [-1, 1], float32 [n, fragment_samples], in the order of `fragments`.

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
    raise ValueError(f"{row['path']}: expected a fragment number {number}, as its record says. Received: fewer")

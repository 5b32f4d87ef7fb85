"""Every form in which one model answers, each behind the same call: one input in, the genres' probabilities out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from tumbao.components.ingest.paths import place
from tumbao.serving.browser import in_browser
from tumbao.serving.model_info import ASSETS_FOLDER, AUDIO_FILE, CLASSIFIER_FILES, preferred
from tumbao.serving.signatures import EXAMPLES, IMAGE, PROBABILITIES, WAVEFORM
from tumbao.trainer.backbones import BACKBONES
from tumbao.trainer.model import joined
from tumbao.trainer.run import load_head
from tumbao.trainer.weights import weights_file

InputKind = Literal["image", "waveform", "examples"]
"""What an artefact takes: a mel image, a fragment's samples or a serialized record."""

SIZE_LIMITS_BYTES = {
    "SavedModel": 150_000_000,
    "Keras model": 150_000_000,
    CLASSIFIER_FILES["float16"]: 73_000_000,
    CLASSIFIER_FILES["dynamic"]: 37_000_000,
    CLASSIFIER_FILES["int8"]: 37_000_000,
    AUDIO_FILE: 39_500_000,
}
"""Largest size of each."""

LITERT, TENSORFLOW, BROWSER = "LiteRT", "TensorFlow's interpreter", "browser (LiteRT.js)"
"""What runs a .tflite."""

_THREADS = 2


@dataclasses.dataclass(frozen=True)
class Artefact:
    """One way to an answer.

    Parameters
    ----------
    name : str
        A .tflite's file name, `SavedModel` or `Keras model`.
    through : str
        What runs it: a signature or an interpreter.
    precision : str
        Numbers inside: "float32", "float16", "dynamic" or "int8".
    size_bytes : int
        How large it is.
    takes : str
        Its input.
    answer : callable
        One input, with a batch of 1 → probabilities [1, genres].
    """

    name: str
    through: str
    precision: str
    size_bytes: int
    takes: InputKind
    answer: Callable[[np.ndarray], np.ndarray]


def signatures(saved_model: str) -> Iterator[Artefact]:
    """Give a SavedModel's doors, the image door first.

    Parameters
    ----------
    saved_model : str
        Its folder.

    Yields
    ------
    artefact : Artefact
        A door.
    """
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
    """Give the Keras model as it was trained.

    Parameters
    ----------
    backbone : str
        A name of `BACKBONES`.
    weights : str
        Its weights; empty for random ones.
    head_file : str
        The head, as the Trainer left it.

    Yields
    ------
    artefact : Artefact
        The model.
    """
    frozen = BACKBONES[backbone].build(weights_file(weights), "float32")
    model = joined(frozen, load_head(head_file))
    size = sum(variable.value.numpy().nbytes for variable in model.variables)
    yield Artefact("Keras model", "Keras", "float32", size, "image", lambda image: model(image, training=False).numpy())


def classifiers(saved_model: str) -> dict[str, str]:
    """Say which classifiers lie with a SavedModel.

    Parameters
    ----------
    saved_model : str
        The SavedModel's folder.

    Returns
    -------
    files : dict of str to str
        Precision → name of the file.
    """
    folder = f"{saved_model}/{ASSETS_FOLDER}"
    return {key: name for key, name in CLASSIFIER_FILES.items() if tf.io.gfile.exists(f"{folder}/{name}")}


def tflite_files(saved_model: str) -> Iterator[Artefact]:
    """Give the .tflite files that lie with a SavedModel, each through both interpreters, LiteRT first.

    Parameters
    ----------
    saved_model : str
        The SavedModel's folder.

    Yields
    ------
    artefact : Artefact
        A file in an interpreter, loaded when its turn comes.
    """
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
    """Load the preferred classifier in a browser.

    Parameters
    ----------
    saved_model : str
        The SavedModel's folder.

    Yields
    ------
    artefact : Artefact
        The file in a headless Chromium, which ends with the context.

    Raises
    ------
    BrowserUnavailableError
        If there is no Chromium, it does not start, or LiteRT.js was not bundled.
    BrowserError
        If the file cannot be loaded in it.
    """
    precision = preferred(classifiers(saved_model))
    name = CLASSIFIER_FILES[precision]
    content = _read(saved_model, name)
    with in_browser([content], IMAGE, PROBABILITIES) as door:
        yield Artefact(name, BROWSER, precision, len(content), "image", door)


def _read(saved_model: str, name: str) -> bytes:
    return place(f"{saved_model}/{ASSETS_FOLDER}/{name}").read_bytes()

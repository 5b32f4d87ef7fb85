"""Training of heads on splits of a library, their predictions for the test fragments, and the costs of models."""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tumbao.analysis.compare.folds import Fold
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.serving.signatures import save
from tumbao.serving.tflite import ConversionError, convert_classifier
from tumbao.trainer.dataset import Arrays
from tumbao.trainer.fit import release_memory
from tumbao.trainer.model import joined, without_loops
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.run import train_head
from tumbao.trainer.training import Training

BATCH = 256
"""Fragments per call of the head."""

TIMED_CALLS = 5
"""Timed calls, after one warm-up call."""

PRECISION = "dynamic"
"""Precision of the TFLite file: integer weights, which every model supports."""


class TrainedResult(NamedTuple):
    """Result of a training.

    `probabilities` are float32 [m, genres] of the m test fragments.
    """

    probabilities: np.ndarray
    history: dict[str, Any]
    seconds: float


def train_and_predict(
    model: ModelSpec,
    training: Training,
    library: RenderedLibrary,
    arrays: Sequence[np.ndarray],
    fold: Fold,
    weights: Path | None,
) -> TrainedResult:
    """Train a head on a split and classify its test part with the best weights.

    `arrays` are the backbone's features [n, ...] of the fragments, then of their masked copies. The validation part
    determines the best epoch. `weights` is the file of the backbone's weights, for a head that fine-tunes one block.
    """
    keras.utils.clear_session()  # otherwise the graphs of earlier trainings stay in memory
    genres, features = len(library.genres), arrays[0]
    train = Arrays(arrays, library.labels, fold.train, genres)
    val = Arrays(arrays[:1], library.labels, fold.val, genres)
    started = time.perf_counter()
    head, history = train_head(
        model, train, val, training, shape=features.shape[1:], weights=str(weights) if weights else ""
    )
    seconds = time.perf_counter() - started
    parts = (fold.test[begin : begin + BATCH] for begin in range(0, len(fold.test), BATCH))
    found = [np.asarray(head(features[part].astype(np.float32), training=False)) for part in parts]
    probabilities = np.concatenate(found).astype(np.float32)
    release_memory(head)
    return TrainedResult(probabilities, history, seconds)


def out_of_sample(
    model: ModelSpec,
    training: Training,
    library: RenderedLibrary,
    arrays: Sequence[np.ndarray],
    folds: Sequence[Fold],
    weights: Path | None,
) -> np.ndarray:
    """Classify every fragment with a head that was trained without its song; float32 [n, genres].

    Each fragment must be in the test part of one split, otherwise its row is NaN. For the other arguments, see
    `train_and_predict`.
    """
    probabilities = np.full((len(library.songs), len(library.genres)), np.nan, np.float32)
    for fold in folds:
        result = train_and_predict(model, training, library, arrays, fold, weights)
        probabilities[fold.test] = result.probabilities
    return probabilities


@dataclasses.dataclass(frozen=True)
class ModelCost:
    """Cost of a model.

    `inference_ms` is the median time from a mel image to the probabilities in TensorFlow. `tflite_bytes` is the size
    with integer weights; it is None if the conversion failed, and `tflite_note` then holds the reason.
    """

    parameters: int
    trainable_parameters: int
    inference_ms: float
    tflite_bytes: int | None
    tflite_note: str


def model_cost(model: ModelSpec, training: Training, genres: Sequence[str], file: Path) -> ModelCost:
    """Measure a model with random weights, or load the figures from `file` if it exists."""
    if not file.exists():
        measured = _measure(model, training, genres)
        write_whole(file, (json.dumps(dataclasses.asdict(measured), indent=1) + "\n").encode())
    return ModelCost(**json.loads(file.read_text("utf-8")))


def _measure(model: ModelSpec, training: Training, genres: Sequence[str]) -> ModelCost:
    backbone = model.backbone_for(training)
    frozen = backbone.build(None, "float32")
    head = model.head_for(frozen.output_shape[1:], len(genres), training)
    network = joined(frozen, head)
    image = tf.constant(np.zeros((1, *backbone.mel_spec.image_shape), np.uint8))
    predict = tf.function(lambda image: network(image, training=False))
    seconds = []
    for _ in range(1 + TIMED_CALLS):
        started = time.perf_counter()
        predict(image).numpy()
        seconds.append(time.perf_counter() - started)
    size, note = None, ""
    with tempfile.TemporaryDirectory(prefix="tumbao-cost-") as folder:
        save(joined(frozen, without_loops(head)), f"{folder}/model", genres, backbone.mel_spec)
        try:
            size = len(convert_classifier(f"{folder}/model", PRECISION, backbone.mel_spec))
        except ConversionError as error:
            note = str(error).strip().splitlines()[-1]
    # The whole head counts if one of its blocks is fine-tuned (frozen at first) or if it is not trained by gradients.
    trained = head.count_params() if training.fine_tune or model.train else _count(head.trainable_weights)
    return ModelCost(network.count_params(), trained, 1_000 * statistics.median(seconds[1:]), size, note)


def _count(weights: Sequence[tf.Variable]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)

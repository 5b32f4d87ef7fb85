"""Model costs: number of parameters, inference time and TFLite size."""

from __future__ import annotations

import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.serving.signatures import save
from tumbao.serving.tflite import ConversionError, convert_classifier
from tumbao.trainer.model import joined, without_loops
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training

ANSWERS = 5
"""Timed calls, after one warm-up call."""

PRECISION = "dynamic"
"""Precision of the TFLite file: integer weights, which every model supports."""


@dataclasses.dataclass(frozen=True)
class ModelCost:
    """What a model costs.

    `inference_ms` is the median time from a mel image to the probabilities in TensorFlow. `tflite_bytes` is the size
    with integer weights; it is None if the conversion failed, and `tflite_note` then holds the reason.
    """

    parameters: int
    trainable_parameters: int
    inference_ms: float
    tflite_bytes: int | None
    tflite_note: str


def cost(model: ModelSpec, training: Training, genres: Sequence[str], file: Path) -> ModelCost:
    """Measure a model with random weights, or load the figures from `file` if it exists."""
    if not file.exists():
        found = _measure(model, training, genres)
        write_whole(file, (json.dumps(dataclasses.asdict(found), indent=1) + "\n").encode())
    return ModelCost(**json.loads(file.read_text("utf-8")))


def _measure(model: ModelSpec, training: Training, genres: Sequence[str]) -> ModelCost:
    backbone = model.backbone_for(training)
    frozen = backbone.build(None, "float32")
    head = model.head_for(frozen.output_shape[1:], len(genres), training)
    network = joined(frozen, head)
    image = tf.constant(np.zeros((1, *backbone.mel_spec.image_shape), np.uint8))
    answer = tf.function(lambda image: network(image, training=False))
    seconds = []
    for _ in range(1 + ANSWERS):
        started = time.perf_counter()
        answer(image).numpy()
        seconds.append(time.perf_counter() - started)
    size, note = None, ""
    with tempfile.TemporaryDirectory(prefix="tumbao-cost-") as folder:
        save(joined(frozen, without_loops(head)), f"{folder}/model", genres, backbone.mel_spec)
        try:
            size = len(convert_classifier(f"{folder}/model", PRECISION, backbone.mel_spec))
        except ConversionError as error:
            note = str(error).strip().splitlines()[-1]
    # The whole head counts if one of its blocks is fine-tuned (frozen at first) or if it is not trained by gradients.
    trained = head.count_params() if training.fine_tune or model.learn else _count(head.trainable_weights)
    return ModelCost(network.count_params(), trained, 1_000 * statistics.median(seconds[1:]), size, note)


def _count(weights: Sequence[tf.Variable]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)

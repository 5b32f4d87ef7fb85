"""A small network for quick tests: fragments of 2 s, images of 32×40, three genres, random weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from tests.small_spec import SMALL
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import ModelInfo, Split, TrainingData

SPEC = dataclasses.replace(SMALL, fragment_seconds=2.0)
EDGE_SPEC = dataclasses.replace(SPEC, sample_rate_hz=22_050, fragment_seconds=5.0)
"""At this rate the reference equals soxr; fragments are longer than the song of the test vectors."""

NAMES = ("cumbia", "salsa", "vallenato")


def description(spec: MelSpec, genres: tuple[str, ...], **values: Any) -> ModelInfo:
    """Describe a model of three synthetic songs, without files."""
    made: dict[str, Any] = {"created": "2026-05-04T03:02:01Z", "metrics": {}, "files": {}, "versions": {}}
    data, split = TrainingData(True, "tiny", "0" * 16, {"train": 3}, {"train": 9}), Split("song", False, 7)
    return ModelInfo(genres=genres, mel=spec, training_data=data, split=split, **made | values)


def network(seed: int) -> keras.Model:
    weights = np.random.default_rng(seed).normal(size=(32 * 40 * 3, len(NAMES))) / 3_000
    dense = keras.layers.Dense(len(NAMES), "softmax")
    model = keras.Sequential([keras.Input(SPEC.image_shape), keras.layers.Flatten(), dense])
    dense.set_weights([weights, np.zeros(len(NAMES))])
    return model

"""A small network for quick tests: fragments of 2 s, images of 32×40, three genres, random weights."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from tests.small_spec import SMALL

SPEC = dataclasses.replace(SMALL, fragment_seconds=2.0)
EDGE_SPEC = dataclasses.replace(SPEC, sample_rate_hz=22_050, fragment_seconds=5.0)
"""At this rate the reference equals soxr; fragments are longer than the song of the test vectors."""

NAMES = ("cumbia", "salsa", "vallenato")


def network(seed: int) -> keras.Model:
    weights = np.random.default_rng(seed).normal(size=(120, len(NAMES))) / 500
    dense = keras.layers.Dense(len(NAMES), "softmax")
    pool = keras.layers.Reshape((32, 120))
    model = keras.Sequential([keras.Input(SPEC.image_shape), pool, keras.layers.GlobalAveragePooling1D(), dense])
    dense.set_weights([weights, np.zeros(len(NAMES))])
    return model

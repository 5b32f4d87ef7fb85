"""Networks whose decisive region is known."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from tests.small_spec import SMALL

ROWS, COLUMNS = slice(12, 18), slice(40, 48)
"""Region of `listener` in images of 60×80 pixels."""

PLANTED = dataclasses.replace(SMALL, mel_bands=30, image_height=60, image_width=80)
"""Fragments of 4 s at 8 kHz, images of 60×80."""


def listener(rows: slice, columns: slice) -> keras.Model:
    """Build a network in which only the brightness of a region increases the probability of genre 1."""
    images = keras.Input(PLANTED.image_shape, name="image")
    grey = keras.layers.Conv2D(1, 1, use_bias=False, name="grey")(images)
    small = keras.layers.AveragePooling2D(2, name="small")(grey)
    out = keras.layers.Dense(3, "softmax", name="genres")(keras.layers.Flatten(name="flat")(small))
    model = keras.Model(images, out)
    place = np.zeros(small.shape[1:3], np.float32)
    place[rows.start // 2 : rows.stop // 2, columns.start // 2 : columns.stop // 2] = 1
    kernel = np.outer(place.ravel() / place.sum(), [0.0, 20.0, 0.0])
    model.set_weights([np.full((1, 1, 3, 1), 1 / 765, np.float32), kernel, np.zeros(3, np.float32)])
    return model


def click_listener() -> keras.Model:
    """Build a network in which onsets increase the probability of genre 1."""
    images = keras.Input(PLANTED.image_shape, name="image")
    onsets = keras.layers.Conv2D(1, (1, 2), padding="same", activation="relu", use_bias=False, name="onsets")(images)
    mean = keras.layers.GlobalAveragePooling2D(name="mean")(onsets)
    model = keras.Model(images, keras.layers.Dense(3, "softmax", name="genres")(mean))
    kernel = np.stack([np.full((1, 3, 1), -1 / 765), np.full((1, 3, 1), 1 / 765)], axis=1)
    model.set_weights([kernel.astype(np.float32), np.array([[0.0, 500.0, 0.0]], np.float32), np.zeros(3, np.float32)])
    return model


def noise(seed: int) -> np.ndarray:
    """Make noise, uint8 [60, 80], with levels of 100 to 200, and 255 in the region of `listener`."""
    levels = np.random.default_rng(seed).integers(100, 201, (60, 80)).astype(np.uint8)
    levels[ROWS, COLUMNS] = 255
    return levels

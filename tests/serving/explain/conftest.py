"""A tiny pushed model that is explained in a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.serving.small_network import description
from tests.small_spec import SMALL
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.network import Network, load
from tumbao.serving.model_info import ASSETS_FOLDER
from tumbao.serving.signatures import save

SPEC = dataclasses.replace(SMALL, image_height=48, image_width=64)
"""Fragments of 4 s at 8 kHz, images of 48×64."""

Push = Callable[..., Path]


@pytest.fixture(scope="session")
def push(tmp_path_factory: pytest.TempPathFactory) -> Push:
    """Push a model: push(model, spec, genres) -> folder."""

    def pushed(model: keras.Model, spec: MelSpec, genres: tuple[str, ...] = ("cumbia", "salsa", "vallenato")) -> Path:
        folder = tmp_path_factory.mktemp("explained")
        save(model, str(folder), genres, spec)
        description(spec, genres).write(folder / ASSETS_FOLDER)
        return folder

    return pushed


@pytest.fixture(scope="session")
def tiny_folder(push: Push) -> Path:
    """Push a network of two blocks, named as in VGG-16; low, middle and high bands are evidence for one genre each."""
    images = keras.Input(SPEC.image_shape, name="image")
    x = images / 255.0
    for block, filters in ((1, 6), (2, 8)):
        x = keras.layers.Conv2D(filters, 3, activation="relu", padding="same", name=f"block{block}_conv1")(x)
        x = keras.layers.MaxPooling2D(4, name=f"block{block}_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    model = keras.Model(images, keras.layers.Dense(3, "softmax", name="dense")(x), name="tumbao")
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):  # each filter averages in a way of its own
            kernel = rng.random(layer.kernel.shape)
            layer.set_weights([kernel / kernel.sum(axis=(0, 1, 2)), layer.bias.numpy()])
    kernel = np.zeros((3, 32, 3), np.float32)  # the highest row first
    kernel[[2, 1, 0], :, [0, 1, 2]] = 0.5
    model.get_layer("dense").set_weights([kernel.reshape(96, 3), np.zeros(3)])
    return push(model, SPEC)


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Network:
    return load(tiny_folder)

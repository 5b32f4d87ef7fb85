from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest import progress
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.network import Network, load, split_last_layer
from tumbao.serving.model_info import ARCHITECTURE_FILE, ASSETS_FOLDER
from tumbao.trainer.models.registry import find_model


@pytest.mark.parametrize("name", ["vgg16", "adaboost"])
def test_loaded_models_equal_the_pushed_ones(name: str, push: Callable[..., Path], rng: np.random.Generator) -> None:
    from tumbao.trainer.model import joined, without_loops

    model, settings = find_model(name), find_model(name).settings()
    backbone = model.backbone.build(None, "float32")
    head = model.head_for(backbone.output_shape[1:], 3, settings)
    head.set_weights([rng.uniform(0, 0.1, weight.shape).astype(weight.dtype) for weight in head.get_weights()])
    spec = model.backbone.mel_spec
    folder = push(joined(backbone, without_loops(head)), spec)
    images = rng.integers(0, 256, (2, *spec.image_shape), np.uint8)
    network = load(folder)
    assert (network.genres, network.spec) == (("cumbia", "salsa", "vallenato"), spec)
    answer = network.model(images.astype(np.float32)).numpy()
    pushed = tf.saved_model.load(str(folder)).signatures["image"](image=images)["probabilities"].numpy()
    np.testing.assert_allclose(answer, pushed, atol=1e-5)
    assert np.ptp(answer, axis=1).min() > 1e-4


def test_the_head_is_found_when_other_layers_are_listed_before_it(rng: np.random.Generator) -> None:
    from tumbao.trainer.model import joined

    taggers = find_model("musicnn")
    backbone = taggers.backbone.build(None, "float32")
    model = joined(backbone, taggers.head_for(backbone.output_shape[1:], 3, taggers.settings()))
    images = rng.integers(0, 256, (1, *taggers.backbone.mel_spec.image_shape)).astype(np.float32)
    scores = split_last_layer(model)[1](images)
    assert scores.numpy().max() > 0
    np.testing.assert_allclose(tf.nn.softmax(scores), model(images), atol=1e-5)


def test_a_model_with_half_or_no_architecture_raises_an_error(push: Callable[..., Path]) -> None:
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    folder = push(model, MelSpec(image_height=2, image_width=2))
    file = folder / ASSETS_FOLDER / ARCHITECTURE_FILE
    file.write_text(file.read_text()[:100])
    for _ in range(2):
        with pytest.raises(ValueError, match=r"expected architecture\.json and weights as pushed"):
            load(folder)
        file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def noise_images(tiny: Network) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (11, *tiny.spec.image_shape)).astype(np.uint8)


def test_vectors_and_logits_are_those_of_the_network(tiny: Network, noise_images: np.ndarray) -> None:
    steps: list[tuple[str, int, int]] = []
    with progress.listen(lambda *one: steps.append(one)):
        activations = tiny.activations(iter(noise_images), len(noise_images), "step")
    expected = tiny.model(noise_images.astype(np.float32)).numpy()
    np.testing.assert_allclose(activations.probabilities, expected, atol=1e-5)
    assert activations.answers.tolist() == expected.argmax(axis=1).tolist()
    kernel, bias = tiny.model.layers[-1].get_weights()
    assert activations.vectors.shape == (11, len(kernel))
    np.testing.assert_allclose(activations.logits, activations.vectors @ kernel + bias, atol=1e-5)
    assert steps[0] == ("step", 0, 11)
    assert steps[-1] == ("step", 11, 11)

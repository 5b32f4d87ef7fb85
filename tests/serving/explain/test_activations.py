"""The last hidden layer is laid open, and what follows it gives the network's own answer."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tumbao.components.ingest import progress
from tumbao.components.ingest.mel import mel_image
from tumbao.serving.explain.network import HiddenLayer, Network


@pytest.fixture(scope="module")
def images(tiny: Network) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (11, *tiny.spec.image_shape)).astype(np.uint8)


def test_vectors_and_logits_are_those_of_the_network(tiny: Network, images: np.ndarray) -> None:
    told: list[tuple[str, int, int]] = []
    with progress.listen(lambda *one: told.append(one)):
        seen = HiddenLayer(tiny).compute(iter(images), len(images), "look")
    expected = tiny.model(images.astype(np.float32)).numpy()
    np.testing.assert_allclose(seen.probabilities, expected, atol=1e-5)
    assert seen.answers.tolist() == expected.argmax(axis=1).tolist()
    kernel, bias = tiny.model.layers[-1].get_weights()
    assert seen.vectors.shape == (11, len(kernel))
    np.testing.assert_allclose(seen.logits, seen.vectors @ kernel + bias, atol=1e-5)
    assert told[0] == ("look", 0, 11)
    assert told[-1] == ("look", 11, 11)


def test_sound_is_answered_as_its_image_is(tiny: Network) -> None:
    sounds = 0.1 * np.random.default_rng(2).standard_normal((9, tiny.spec.fragment_samples)).astype(np.float32)
    hidden = HiddenLayer(tiny)
    seen = hidden.compute(mel_image(sounds, tiny.spec).numpy(), 9, "look")
    np.testing.assert_allclose(hidden.logits(sounds), seen.logits, atol=1e-5)


def test_a_head_that_is_a_model_and_one_that_averages_are_laid_open(tiny: Network, images: np.ndarray) -> None:
    features = keras.Input((5,))
    first, second = (keras.layers.Dense(3, "softmax")(features) for _ in range(2))
    head = keras.Model(features, keras.layers.Average()([first, second]))
    inputs = keras.Input(tiny.spec.image_shape)
    pooled = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(inputs / 255.0))
    model = keras.Model(inputs, head(pooled))
    seen = HiddenLayer(Network(tiny.info, model)).compute(images, len(images), "look")
    expected = model(images.astype(np.float32)).numpy()
    assert seen.vectors.shape == (11, 6)
    np.testing.assert_allclose((seen.vectors[:, :3] + seen.vectors[:, 3:]) / 2, expected, atol=1e-5)
    np.testing.assert_allclose(seen.logits, np.log(expected), atol=1e-4)
    dense = keras.Model(inputs, keras.Model(features, first)(pooled))
    opened = HiddenLayer(Network(tiny.info, dense)).compute(images, len(images), "look")
    assert opened.vectors.shape == (11, 5)
    np.testing.assert_allclose(opened.probabilities, dense(images.astype(np.float32)).numpy(), atol=1e-5)


def test_no_image_is_refused(tiny: Network) -> None:
    with pytest.raises(ValueError, match=r"at least one image.*count=0"):
        HiddenLayer(tiny).compute([], 0, "look")

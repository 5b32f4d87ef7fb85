"""Dreams raise what they are about, in the picture and in its sound, and are always the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.mel import palette
from tumbao.serving.explain.activation_maximization import ActivationMaximizer
from tumbao.serving.explain.network import Network, input_gradient, load
from tumbao.trainer.colormap_inverse import levels


@pytest.fixture(scope="module")
def maximizer(tiny: Network) -> ActivationMaximizer:
    return ActivationMaximizer(tiny)


@pytest.mark.parametrize("genre", [0, 1, 2])
def test_a_dream_is_its_genre_to_the_eye_and_to_the_ear(
    maximizer: ActivationMaximizer, tiny: Network, genre: int
) -> None:
    dream = maximizer.from_noise(genre, seed=7)
    assert dream.image_probability > dream.start_probability + 0.2
    assert dream.audio_probability > dream.start_probability + 0.1
    assert dream.genre == tiny.genres[genre]
    image = palette(tiny.spec)[dream.levels][np.newaxis].astype(np.float32)
    assert tiny.model(image).numpy()[0, genre] == pytest.approx(dream.image_probability, abs=1e-5)
    assert dream.samples.shape == (tiny.spec.fragment_samples,)
    assert 0 < dream.distance_db < tiny.spec.dynamic_range_db / 4


def test_of_a_fragment_something_stays(maximizer: ActivationMaximizer, tiny: Network, rng: np.random.Generator) -> None:
    start = np.repeat(rng.integers(0, 256, (48, 8)), 8, axis=1).astype(np.uint8)
    dream = maximizer.from_fragment(1, start, "a song, 0:30", seed=7)
    assert dream.origin == "a song, 0:30"
    assert dream.image_probability > dream.start_probability
    assert np.corrcoef(start.ravel(), dream.levels.ravel())[0, 1] > 0.7
    assert np.corrcoef(start.ravel(), maximizer.from_noise(1, seed=7).levels.ravel())[0, 1] < 0.5


def test_the_seed_decides(maximizer: ActivationMaximizer) -> None:
    first, second, other = (maximizer.from_noise(0, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.levels, second.levels)
    np.testing.assert_array_equal(first.samples, second.samples)
    assert (first.levels != other.levels).mean() > 0.5


def test_the_slope_leads_through_the_colours(tiny: Network, rng: np.random.Generator) -> None:
    scores = tiny.opened.scores
    gradient_fn = input_gradient(scores, tiny.spec, lambda answer, index: answer[0, index])
    picture = rng.uniform(1, 254, tiny.spec.image_shape[:2]).astype(np.float32)
    gradient, measured = gradient_fn(picture, 2)
    step = gradient / np.abs(gradient).max() * 1e-2
    expected = float((gradient * step).sum())
    assert gradient_fn(picture + step, 2)[1] - measured == pytest.approx(expected, rel=0.1)


def test_the_slope_leads_around_colours_that_the_model_undoes_itself(push: Callable[..., Path], tiny: Network) -> None:
    first = levels(tiny.spec)
    outputs = keras.layers.Dense(3, "softmax", name="dense")(keras.layers.GlobalAveragePooling1D()(first.output))
    network = load(push(keras.Model(first.input, outputs), tiny.spec))
    kernel = network.model.layers[-1].get_weights()[0]
    gradient_fn = input_gradient(network.opened.scores, tiny.spec, lambda answer, index: answer[0, index])
    gradient, _ = gradient_fn(np.full(tiny.spec.image_shape[:2], 99.0, np.float32), 1)
    # the mean over 64 columns of a band's level out of 255; the lowest band is the last row
    np.testing.assert_allclose(gradient, np.repeat(kernel[::-1, 1:2], 64, axis=1) / 64 / 255, rtol=1e-4)


def test_loops_that_are_written_out_have_a_slope(tiny: Network) -> None:
    short = dataclasses.replace(tiny.spec, image_width=8)
    first = levels(short)
    outputs = keras.layers.Dense(3, "softmax")(keras.layers.LSTM(2, unroll=True)(first.output))
    gradient_fn = input_gradient(keras.Model(first.input, outputs), short, lambda answer, index: answer[0, index])
    gradient, _ = gradient_fn(np.full(short.image_shape[:2], 99.0, np.float32), 1)
    assert gradient.any(axis=0).all()


def test_of_a_model_that_undoes_colours_within_a_model_no_gradient_is_found(tiny: Network) -> None:
    images = keras.Input(tiny.spec.image_shape)
    model = keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(levels(tiny.spec)(images))))
    with pytest.raises(ValueError, match=r"No gradient of .* a nested model that inverts"):
        input_gradient(model, tiny.spec, lambda answer, index: answer[0, index])


def test_a_model_without_gradients_is_refused(tiny: Network) -> None:
    images = keras.Input(tiny.spec.image_shape)
    model = keras.Model(images, keras.ops.cast(keras.ops.cast(images, "int32"), "float32")[:, 0, 0])
    with pytest.raises(ValueError, match="No gradient of"):
        input_gradient(model, tiny.spec, lambda answer, index: tf.gather(answer[0], index))

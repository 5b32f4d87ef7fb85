from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.mel import palette
from tumbao.serving.explain.activation_maximization import (
    Filter,
    blocks,
    discriminative_filters,
    effect_sizes,
    maximize,
    null_quantiles,
)
from tumbao.serving.explain.attribution import SIGNIFICANCE_LEVEL
from tumbao.serving.explain.network import Network, colour_levels, input_gradient, load, run_on_levels
from tumbao.serving.explain.page import filters_section
from tumbao.trainer.colormap_inverse import levels


@pytest.mark.parametrize("genre", [0, 1, 2])
def test_image_and_audio_have_a_higher_probability(tiny: Network, genre: int) -> None:
    maximized = maximize(tiny, genre, seed=7)
    assert maximized.image_probability > maximized.start_probability + 0.2
    assert maximized.audio_probability > maximized.start_probability + 0.1
    assert maximized.genre == tiny.genres[genre]
    image = palette(tiny.spec)[maximized.levels][np.newaxis].astype(np.float32)
    assert tiny.model(image).numpy()[0, genre] == pytest.approx(maximized.image_probability, abs=1e-5)
    assert maximized.samples.shape == (tiny.spec.fragment_samples,)
    assert 0 < maximized.distance_db < tiny.spec.dynamic_range_db / 4


def test_an_image_from_a_fragment_resembles_it(tiny: Network, rng: np.random.Generator) -> None:
    start = np.repeat(rng.integers(0, 256, (48, 8)), 8, axis=1).astype(np.uint8)
    maximized = maximize(tiny, 1, 7, ("a song, 0:30", start))
    assert maximized.origin == "a song, 0:30"
    assert maximized.image_probability > maximized.start_probability
    assert np.corrcoef(start.ravel(), maximized.levels.ravel())[0, 1] > 0.7
    assert np.corrcoef(start.ravel(), maximize(tiny, 1, seed=7).levels.ravel())[0, 1] < 0.5


def test_the_gradient_passes_through_the_colour_map(tiny: Network, rng: np.random.Generator) -> None:
    gradient_fn = input_gradient(tiny.logits_model, tiny.spec, lambda answer, index: answer[0, index])
    picture = rng.uniform(1, 254, tiny.spec.image_shape[:2]).astype(np.float32)
    gradient = gradient_fn(picture, 2)
    step = gradient / np.abs(gradient).max() * 1e-2
    before, after = run_on_levels(tiny.logits_model, np.stack([picture, picture + step]), tiny.spec)[:, 2]
    assert after - before == pytest.approx(float((gradient * step).sum()), rel=0.1)


def test_the_gradient_bypasses_a_colour_map_that_the_model_inverts(push: Callable[..., Path], tiny: Network) -> None:
    first = levels(tiny.spec)
    outputs = keras.layers.Dense(3, "softmax", name="dense")(keras.layers.GlobalAveragePooling1D()(first.output))
    network = load(push(keras.Model(first.input, outputs), tiny.spec))
    kernel = network.model.layers[-1].get_weights()[0]
    gradient_fn = input_gradient(network.logits_model, tiny.spec, lambda answer, index: answer[0, index])
    gradient = gradient_fn(np.full(tiny.spec.image_shape[:2], 99.0, np.float32), 1)
    # the mean over 64 columns of a band's level out of 255; the lowest band is the last row
    np.testing.assert_allclose(gradient, np.repeat(kernel[::-1, 1:2], 64, axis=1) / 64 / 255, rtol=1e-4)


@pytest.mark.parametrize("kind", ["nested", "not differentiable"])
def test_a_model_without_gradients_raises_an_error(tiny: Network, kind: str) -> None:
    images = keras.Input(tiny.spec.image_shape)
    if kind == "nested":
        outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling1D()(levels(tiny.spec)(images)))
    else:
        outputs = keras.ops.cast(keras.ops.cast(images, "int32"), "float32")[:, 0, 0]
    with pytest.raises(ValueError, match=r"No gradient of .* a nested model that inverts"):
        input_gradient(keras.Model(images, outputs), tiny.spec, lambda answer, index: tf.gather(answer[0], index))


@pytest.fixture(scope="module")
def filters(tiny: Network) -> list[Filter]:
    """Select filters by images of the three genres: a low, a middle and a high band."""
    pictures = np.zeros((3, *tiny.spec.image_shape[:2]), np.uint8)
    for genre in range(3):
        pictures[genre, 32 - 16 * genre : 48 - 16 * genre] = 200
    return discriminative_filters(tiny, pictures, [0, 1, 2], seed=7)


def test_each_block_has_a_filter_for_each_genre(filters: list[Filter], tiny: Network) -> None:
    assert blocks(tiny.model) == ["block1_conv1", "block2_conv1"]
    expected = [(layer, genre) for layer in blocks(tiny.model) for genre in tiny.genres]
    assert [(one.layer, one.genre) for one in filters] == expected
    assert [(one.seconds, one.levels.shape) for one in filters] == [(1.0, (16, 16))] * 6
    assert filters[-1].samples.shape == (tiny.spec.sample_rate_hz,)
    assert np.abs(filters[-1].samples).max() > 0.5
    assert blocks(keras.Sequential([keras.Input(tiny.spec.image_shape), keras.layers.Flatten()])) == []


def test_an_image_increases_the_activation_of_its_filter(filters: list[Filter], tiny: Network) -> None:
    one = filters[0]
    maps = keras.Model(tiny.model.input, tiny.model.get_layer(one.layer).output)

    def response(patch: np.ndarray) -> float:
        image = np.zeros(tiny.spec.image_shape[:2], np.float32)
        image[: len(patch), : patch.shape[1]] = patch
        return float(maps(colour_levels(image[np.newaxis], tiny.spec)).numpy()[..., one.channel].mean())

    noise = np.random.default_rng(0).uniform(80, 140, one.levels.shape)
    assert response(one.levels) > 1.1 * response(noise)


def test_only_an_informative_filter_exceeds_the_null_quantile() -> None:
    rng, genres, above = np.random.default_rng(3), np.repeat([0, 1, 2], 5), 0
    for _ in range(30):
        answers = rng.standard_normal((15, 60))
        above += int((effect_sizes(answers, genres).max(axis=1) > null_quantiles(answers, genres, rng)).sum())
    assert above < 4 * 90 * SIGNIFICANCE_LEVEL
    answers[:, 7] += 9 * (genres == 1)
    assert np.argmax(effect_sizes(answers, genres)[1]) == 7
    assert effect_sizes(answers, genres)[1, 7] > null_quantiles(answers, genres, rng)[1]


def test_the_section_on_filters_compares_with_chance(filters: list[Filter], tiny: Network) -> None:
    below, above = (
        filters_section([dataclasses.replace(one, effect_size=size, null_quantile=1.7) for one in filters], tiny, "it")
        for size in (1.5, 1.9)
    )
    assert "no better than chance" in below
    assert "no better than chance" not in above and "limit of chance 1.7" in above
    without_library = filters_section(filters, tiny)
    assert "too few generated images" in without_library and "limit of chance" not in without_library

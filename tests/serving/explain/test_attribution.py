"""A planted cause is found by each way of asking; evidence is exact and adds up."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.serving.explain.planted import COLUMNS, PLANTED, ROWS, click_listener, listener, noise
from tumbao.components.ingest.mel import palette
from tumbao.serving.explain import attribution
from tumbao.serving.explain.network import input_gradient, opened
from tumbao.trainer.colormap_inverse import levels as frames_of

EVERYWHERE, ALWAYS = slice(0, 60), slice(0, 80)


def test_whole_levels_are_the_palettes_colours_and_broken_ones_lie_between() -> None:
    colours = palette(PLANTED)
    painted = attribution.colour_levels(np.array([[0, 255, 99.5]]), PLANTED)[0]
    np.testing.assert_array_equal(painted[:2], colours[[0, 255]])
    np.testing.assert_allclose(painted[2], colours[99:101].mean(axis=0))


def test_scores_are_the_networks_own_where_probabilities_are_all_one() -> None:
    model = listener(ROWS, COLUMNS)
    model.layers[-1].set_weights([model.layers[-1].get_weights()[0] * 100, np.zeros(3)])
    scores = attribution.run_on_levels(opened(model).scores, noise(0)[np.newaxis], PLANTED)
    assert attribution.run_on_levels(model, noise(0)[np.newaxis], PLANTED)[0, 1] == 1
    assert 300 < attribution.log_odds(scores, 1)[0] < 2_000


def test_a_head_that_is_a_model_is_explained_as_one_of_layers_is() -> None:
    """Both are so sure that their probabilities are 0 and 1."""
    flat = listener(ROWS, COLUMNS)
    flat.layers[-1].set_weights([flat.layers[-1].get_weights()[0] * 20, np.zeros(3)])
    features = keras.Input(flat.layers[-1].input.shape[1:])
    head = keras.Model(features, keras.layers.Dense(3, "softmax")(features))
    nested = keras.Model(flat.input, head(flat.layers[-1].input))
    head.set_weights(flat.layers[-1].get_weights())
    one, other = (attribution.occlusion(opened(model).scores, noise(0), 1, PLANTED).map for model in (flat, nested))
    assert one[ROWS, COLUMNS].sum() > 10
    np.testing.assert_allclose(other, one, atol=1e-4)


def test_scores_of_a_network_without_a_dense_end_are_the_logarithms() -> None:
    model = listener(ROWS, COLUMNS)
    plain = keras.Model(model.input, model.output * 1.0)
    pictures = np.stack([noise(0), noise(1)])
    scores = attribution.run_on_levels(opened(plain).scores, pictures, PLANTED)
    np.testing.assert_allclose(tf.nn.softmax(scores), attribution.run_on_levels(model, pictures, PLANTED), atol=1e-6)


def test_silence_finds_a_time_and_a_band() -> None:
    model = opened(listener(ROWS, COLUMNS)).scores
    found = attribution.occlusion(model, noise(0), 1, PLANTED)
    widths = 80 / attribution.TIMES
    assert {int(40 // widths), int(47 // widths)} == set(np.flatnonzero(found.times > 0.1))
    assert set(np.flatnonzero(found.bands > 0.1)) == {2, 3}  # 5 rows each, from above
    row, column = np.unravel_index(found.map.argmax(), found.map.shape)
    assert 10 <= row < 20 and 40 <= column < 48
    assert found.map[ROWS, 43:48].min() > 1.5 * found.map[20:].max()


def test_a_band_that_always_counts_is_found_and_a_moment_too() -> None:
    band = attribution.occlusion(opened(listener(ROWS, ALWAYS)).scores, noise(0), 1, PLANTED)
    assert band.map[ROWS].min() > band.map[24:].max()
    moment = attribution.occlusion(opened(listener(EVERYWHERE, COLUMNS)).scores, noise(0), 1, PLANTED)
    assert moment.map[:, COLUMNS].min() > moment.map[:, :36].max()


def test_gradients_find_the_place_and_add_up_to_the_evidence() -> None:
    model = opened(listener(ROWS, COLUMNS)).scores
    gradient_fn = input_gradient(model, PLANTED, lambda scores, genre: attribution.log_odds(scores, genre)[0])
    pictures = np.stack([noise(0), np.zeros_like(noise(0))])
    evidence = attribution.log_odds(attribution.run_on_levels(model, pictures, PLANTED), 1).numpy()
    found = attribution.integrated_gradients(gradient_fn, pictures[0], 1)
    assert found.sum() == pytest.approx(evidence[0] - evidence[1], rel=0.05)  # colours are whole numbers
    assert found[ROWS, COLUMNS].sum() == pytest.approx(found.sum(), rel=1e-5)
    assert found[ROWS, COLUMNS].min() > 0


def test_grad_cam_finds_beginnings() -> None:
    model = opened(click_listener()).scores
    steady = np.full((60, 80), 50, np.uint8)
    clicks = steady.copy()
    clicks[:, 30] = clicks[:, 62] = 220
    clicks[:, 31:40] = 219  # goes on: no beginning
    (found,) = attribution.grad_cam(model, clicks[np.newaxis], 1, PLANTED)
    assert set(np.flatnonzero(found.max(axis=0) > 0.1 * found.max())) == {29, 61}
    (against,) = attribution.grad_cam(model, clicks[np.newaxis], 0, PLANTED)
    assert against.max() <= 0 and against.min() < 0


def test_grad_cam_finds_the_place_that_a_head_looks_at() -> None:
    model = opened(listener(ROWS, COLUMNS)).scores
    (found,) = attribution.grad_cam(model, noise(0)[np.newaxis], 1, PLANTED)
    assert found[ROWS, COLUMNS].sum() > 0.7 * np.abs(found).sum()
    assert not found[24:].any() and not found[:, :36].any()


def test_a_network_of_frames_has_no_map() -> None:
    frames = frames_of(PLANTED)
    flat = keras.layers.Flatten()(frames.output)
    model = opened(keras.Model(frames.input, keras.layers.Dense(3, "softmax")(flat))).scores
    with pytest.raises(ValueError, match="keeps the picture"):
        attribution.grad_cam(model, noise(0)[np.newaxis], 1, PLANTED)
    assert attribution.occlusion(model, noise(0), 1, PLANTED).map.shape == (60, 80)


def test_pictures_beyond_one_pass_are_asked_in_their_order() -> None:
    pictures = np.stack([noise(seed) for seed in range(11)])
    model = opened(listener(ROWS, COLUMNS)).scores
    one_by_one = np.concatenate([attribution.run_on_levels(model, one[np.newaxis], PLANTED) for one in pictures])
    np.testing.assert_allclose(attribution.run_on_levels(model, pictures, PLANTED), one_by_one, rtol=1e-5)

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.serving.explain.planted import COLUMNS, PLANTED, ROWS, click_listener, listener, noise
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain import attribution
from tumbao.serving.explain.attribution import SHARES, SIGNIFICANCE_LEVEL, last_map, limit_of_chance
from tumbao.serving.explain.attribution_report import RANDOM_MAPS
from tumbao.serving.explain.network import input_gradient, log_odds, run_on_levels, split_last_layer


def logits(model: keras.Model) -> keras.Model:
    return split_last_layer(model)[1]


def test_occlusion_finds_a_time_and_a_band() -> None:
    model = logits(listener(ROWS, COLUMNS))
    found = attribution.occlusion(model, noise(0), 1, PLANTED)
    widths = 80 / attribution.TIMES
    assert {int(40 // widths), int(47 // widths)} == set(np.flatnonzero(found.times > 0.1))
    assert set(np.flatnonzero(found.bands > 0.1)) == {2, 3}  # 5 rows each, from above
    row, column = np.unravel_index(found.map.argmax(), found.map.shape)
    assert 10 <= row < 20 and 40 <= column < 48
    assert found.map[ROWS, 43:48].min() > 1.5 * found.map[20:].max()


def test_integrated_gradients_add_up_to_the_evidence() -> None:
    model = logits(listener(ROWS, COLUMNS))
    pictures = np.stack([noise(0), np.zeros_like(noise(0))])
    evidence = log_odds(run_on_levels(model, pictures, PLANTED), 1).numpy()
    found = gradients(model, pictures[0], 1, PLANTED)
    assert found.sum() == pytest.approx(evidence[0] - evidence[1], rel=0.05)  # colours are whole numbers
    assert found[ROWS, COLUMNS].sum() == pytest.approx(found.sum(), rel=1e-5)
    assert found[ROWS, COLUMNS].min() > 0


def test_grad_cam_finds_onsets() -> None:
    model = logits(click_listener())
    steady = np.full((60, 80), 50, np.uint8)
    clicks = steady.copy()
    clicks[:, 30] = clicks[:, 62] = 220
    clicks[:, 31:40] = 219  # goes on: no beginning
    (found,) = attribution.grad_cam(model, last_map(model), clicks[np.newaxis], 1, PLANTED)
    assert set(np.flatnonzero(found.max(axis=0) > 0.1 * found.max())) == {29, 61}
    (against,) = attribution.grad_cam(model, last_map(model), clicks[np.newaxis], 0, PLANTED)
    assert against.max() <= 0 and against.min() < 0


def test_grad_cam_finds_the_region_of_the_head() -> None:
    model = logits(listener(ROWS, COLUMNS))
    (found,) = attribution.grad_cam(model, last_map(model), noise(0)[np.newaxis], 1, PLANTED)
    assert found[ROWS, COLUMNS].sum() > 0.7 * np.abs(found).sum()
    assert not found[24:].any() and not found[:, :36].any()


def planted_map() -> np.ndarray:
    known = np.zeros((60, 80))
    known[ROWS, COLUMNS] = 1
    return known


def test_the_true_map_is_better_than_chance_and_its_opposite_worse() -> None:
    model, levels = logits(listener(ROWS, COLUMNS)), noise(0)
    known, random = planted_map(), attribution.random_maps(levels.shape, 3, seed=1)
    truth, opposite, *chance = attribution.measure(model, levels, [known, -known, *random], 1, PLANTED)
    for one in chance:
        assert truth.deletion_area < one.deletion_area < opposite.deletion_area
        assert truth.insertion_area > one.insertion_area > opposite.insertion_area
        assert truth.gain > one.gain > opposite.gain


def gradients(model: keras.Model, levels: np.ndarray, genre: int, spec: MelSpec) -> np.ndarray:
    gradient_fn = input_gradient(model, spec, lambda scores, index: log_odds(scores, index)[0])
    return attribution.integrated_gradients(gradient_fn, levels, genre)


def test_curves_start_and_end_at_the_fragment_and_the_flat_image() -> None:
    model, levels = logits(listener(ROWS, COLUMNS)), noise(0)
    flat = np.repeat(levels.mean(axis=1).round().astype(np.uint8)[:, np.newaxis], 80, axis=1)
    pictures = np.stack([levels, flat])
    whole, nothing = log_odds(run_on_levels(model, pictures, PLANTED), 1).numpy()
    (measured,) = attribution.measure(model, levels, [planted_map()], 1, PLANTED)
    assert len(measured.deletion) == len(measured.insertion) == len(SHARES)
    assert (measured.deletion[0], measured.deletion[-1]) == (whole, nothing)
    assert (measured.insertion[0], measured.insertion[-1]) == (nothing, whole)
    assert (np.diff(measured.deletion) <= 1e-5).all() and (np.diff(measured.insertion) >= -1e-5).all()


@pytest.mark.parametrize("maps", [1, 3])
def test_random_maps_rarely_exceed_the_limit_of_chance(maps: int) -> None:
    rng = np.random.default_rng(5)
    passed = 0
    for _ in range(2_000):
        random, best = rng.normal(3, 2, RANDOM_MAPS).tolist(), rng.normal(3, 2, maps).max()
        passed += best > limit_of_chance(random, maps)
    assert SIGNIFICANCE_LEVEL / 2 < passed / 2_000 < 1.2 * SIGNIFICANCE_LEVEL

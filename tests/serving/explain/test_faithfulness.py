"""A map that knows the reason beats maps that do not; the curves begin and end where they must."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import pytest

from tests.serving.explain.planted import COLUMNS, PLANTED, ROWS, listener, noise
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain import attribution, faithfulness
from tumbao.serving.explain.attribution_report import RANDOM_MAPS
from tumbao.serving.explain.faithfulness import SHARES, SIGNIFICANCE_LEVEL, Faithfulness, limit_of_chance
from tumbao.serving.explain.network import input_gradient, opened


def planted_map() -> np.ndarray:
    known = np.zeros((60, 80))
    known[ROWS, COLUMNS] = 1
    return known


def test_the_reason_beats_chance_and_its_opposite_is_beaten() -> None:
    model, levels = opened(listener(ROWS, COLUMNS)).scores, noise(0)
    known, random = planted_map(), faithfulness.random_maps(levels.shape, 3, seed=1)
    truth, opposite, *chance = faithfulness.measure(model, levels, [known, -known, *random], 1, PLANTED)
    for one in chance:
        assert truth.deletion_area < one.deletion_area < opposite.deletion_area
        assert truth.insertion_area > one.insertion_area > opposite.insertion_area
        assert truth.gain > one.gain > opposite.gain


def gradients(model: keras.Model, levels: np.ndarray, genre: int, spec: MelSpec) -> np.ndarray:
    gradient_fn = input_gradient(model, spec, lambda scores, index: attribution.log_odds(scores, index)[0])
    return attribution.integrated_gradients(gradient_fn, levels, genre)


@pytest.mark.parametrize("run_on_levels", [lambda *given: attribution.occlusion(*given).map, gradients])
def test_maps_of_the_network_beat_chance(run_on_levels: Callable[..., np.ndarray]) -> None:
    model, levels = opened(listener(ROWS, COLUMNS)).scores, noise(0)
    maps = [run_on_levels(model, levels, 1, PLANTED), *faithfulness.random_maps(levels.shape, 5, seed=2)]
    found, *chance = faithfulness.measure(model, levels, maps, 1, PLANTED)
    assert found.deletion_area < min(one.deletion_area for one in chance)
    assert found.insertion_area > max(one.insertion_area for one in chance)


def test_curves_run_between_the_whole_fragment_and_one_in_which_nothing_happens() -> None:
    model, levels = opened(listener(ROWS, COLUMNS)).scores, noise(0)
    flat = np.repeat(levels.mean(axis=1).round().astype(np.uint8)[:, np.newaxis], 80, axis=1)
    pictures = np.stack([levels, flat])
    whole, nothing = attribution.log_odds(attribution.run_on_levels(model, pictures, PLANTED), 1).numpy()
    (measured,) = faithfulness.measure(model, levels, [planted_map()], 1, PLANTED)
    assert len(measured.deletion) == len(measured.insertion) == len(SHARES)
    assert (measured.deletion[0], measured.deletion[-1]) == (whole, nothing)
    assert (measured.insertion[0], measured.insertion[-1]) == (nothing, whole)
    assert (np.diff(measured.deletion) <= 1e-5).all() and (np.diff(measured.insertion) >= -1e-5).all()


def test_areas_are_mean_heights() -> None:
    shares = np.array(SHARES)
    measured = Faithfulness(4 - 4 * shares, np.full(len(SHARES), 3.0))
    assert (measured.deletion_area, measured.insertion_area, measured.gain) == pytest.approx((2, 3, 1))


def test_the_most_important_cells_are_chosen_and_no_more() -> None:
    importance = np.zeros((60, 80))
    importance[56:60] = 2
    importance[0:4, 0:40] = 1
    cells = faithfulness.CELLS**2
    chosen = faithfulness.most(importance, faithfulness.CELLS / cells)
    assert chosen[56:60].all() and not chosen[:56].any()
    assert faithfulness.most(importance, 0).sum() == 0 and faithfulness.most(importance, 1).all()


def test_chance_is_the_same_for_a_seed() -> None:
    first, again, other = (faithfulness.random_maps((60, 80), 2, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first[0], first[1])


def test_a_map_of_another_size_is_refused() -> None:
    model = opened(listener(ROWS, COLUMNS)).scores
    with pytest.raises(ValueError, match=r"shape \(60, 80\)\. Received: \(80, 60\)"):
        faithfulness.measure(model, noise(0), [noise(0).T], 1, PLANTED)


@pytest.mark.parametrize("maps", [1, 3])
def test_maps_that_know_nothing_rarely_pass_for_better(maps: int) -> None:
    rng = np.random.default_rng(5)
    passed = 0
    for _ in range(2_000):
        random, best = rng.normal(3, 2, RANDOM_MAPS).tolist(), rng.normal(3, 2, maps).max()
        passed += best > limit_of_chance(random, maps)
    assert SIGNIFICANCE_LEVEL / 2 < passed / 2_000 < 1.2 * SIGNIFICANCE_LEVEL

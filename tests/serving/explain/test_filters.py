"""Filters: chosen by effect size, visualized by activation maximization."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tumbao.serving.explain.attribution import colour_levels
from tumbao.serving.explain.faithfulness import SIGNIFICANCE_LEVEL
from tumbao.serving.explain.filters import Filter, blocks, discriminative_filters, effect_sizes, null_quantiles
from tumbao.serving.explain.network import Network, load
from tumbao.serving.explain.page import filters_section


@pytest.fixture(scope="module")
def banded(tiny: Network) -> np.ndarray:
    """Make pictures of the three genres of `tiny`: a low, a middle and a high band."""
    pictures = np.zeros((3, *tiny.spec.image_shape[:2]), np.uint8)
    for genre in range(3):
        pictures[genre, 32 - 16 * genre : 48 - 16 * genre] = 200
    return pictures


@pytest.fixture(scope="module")
def filters(tiny: Network, banded: np.ndarray) -> list[Filter]:
    return discriminative_filters(tiny, banded, [0, 1, 2], seed=7)


def test_each_block_has_a_filter_for_each_genre(filters: list[Filter], tiny: Network) -> None:
    assert blocks(tiny.model) == ["block1_conv1", "block2_conv1"]
    expected = [(layer, genre) for layer in blocks(tiny.model) for genre in tiny.genres]
    assert [(one.layer, one.genre) for one in filters] == expected


def test_a_picture_is_what_its_filter_answers_to(filters: list[Filter], tiny: Network) -> None:
    one = filters[0]
    maps = keras.Model(tiny.model.input, tiny.model.get_layer(one.layer).output)
    inside = np.zeros(tiny.spec.image_shape[:2])
    noise = np.random.default_rng(0).uniform(80, 140, one.levels.shape)
    inside[: len(one.levels), : one.levels.shape[1]] = one.levels
    answer = float(maps(colour_levels(inside[np.newaxis], tiny.spec)).numpy()[..., one.channel].mean())
    inside[: len(one.levels), : one.levels.shape[1]] = noise
    assert answer > 1.1 * float(maps(colour_levels(inside[np.newaxis], tiny.spec)).numpy()[..., one.channel].mean())


def test_a_filter_sounds_for_a_part_of_a_fragment(filters: list[Filter], tiny: Network) -> None:
    one = filters[-1]
    assert (one.seconds, one.levels.shape) == (1.0, (16, 16))
    assert one.samples.shape == (tiny.spec.sample_rate_hz,)
    assert np.abs(one.samples).max() > 0.5


def test_the_seed_decides(filters: list[Filter], tiny: Network, banded: np.ndarray) -> None:
    again, other = (
        discriminative_filters(tiny, banded, [0, 1, 2], seed=7),
        discriminative_filters(tiny, banded, [0, 1, 2], seed=8),
    )
    assert [one.levels.tolist() for one in again] == [one.levels.tolist() for one in filters]
    assert [one.levels.tolist() for one in other] != [one.levels.tolist() for one in filters]


def test_the_lead_is_in_standard_deviations() -> None:
    answers = np.array([[4.0, 5, 7], [4, 5, 9], [0, 5, 7], [0, 5, 9]], np.float32)
    expected = [[2, 0, 0], [-2, 0, 0]]
    np.testing.assert_allclose(effect_sizes(answers, np.array([0, 0, 3, 3])), expected)


def test_the_best_of_many_filters_that_know_nothing_is_not_above_chance() -> None:
    """Unless by luck; one that knows the genre is, among as many."""
    rng, genres, above = np.random.default_rng(3), np.repeat([0, 1, 2], 5), 0
    for _ in range(30):
        answers = rng.standard_normal((15, 60))
        above += int((effect_sizes(answers, genres).max(axis=1) > null_quantiles(answers, genres, rng)).sum())
    assert above < 4 * 90 * SIGNIFICANCE_LEVEL
    answers[:, 7] += 9 * (genres == 1)
    assert np.argmax(effect_sizes(answers, genres)[1]) == 7
    assert effect_sizes(answers, genres)[1, 7] > null_quantiles(answers, genres, rng)[1]


def test_the_page_says_what_chance_reaches_or_that_dreams_are_too_few(filters: list[Filter], tiny: Network) -> None:
    lucky = [dataclasses.replace(one, effect_size=1.5, null_quantile=1.7) for one in filters]
    telling_more = [dataclasses.replace(one, effect_size=1.9, null_quantile=1.7) for one in filters]
    assert "no better than chance" in filters_section(lucky, tiny, "a library")
    page = filters_section(telling_more, tiny, "a library")
    assert "no better than chance" not in page and "limit of chance 1.7" in page
    assert "too few generated images" in filters_section(filters, tiny) and "limit of chance" not in filters_section(
        filters, tiny
    )


@pytest.mark.parametrize(
    ("weights", "fine_tuned", "said"),
    [
        ("0" * 64, False, "trained on photographs; only the layers after them were trained on music."),
        ("0" * 64, True, "trained on photographs; the last block was then trained on music"),
        ("random", False, "their weights are random; only the layers after them"),
    ],
)
def test_the_page_says_what_the_filters_learned_from(
    filters: list[Filter], tiny: Network, weights: str, fine_tuned: bool, said: str
) -> None:
    info = dataclasses.replace(tiny.info, versions={"backbone_weights": weights})
    assert said in filters_section(filters, Network(info, tiny.model, fine_tuned))


def test_other_networks_have_no_such_filters(push: Callable[..., Path], tiny: Network, banded: np.ndarray) -> None:
    model = keras.Sequential([keras.Input(tiny.spec.image_shape), keras.layers.Flatten(), keras.layers.Dense(3)])
    assert discriminative_filters(load(push(model, tiny.spec)), banded, [0, 1, 2], seed=7) == []


def test_some_genres_are_enough_but_one_is_not(tiny: Network, banded: np.ndarray) -> None:
    assert {one.genre for one in discriminative_filters(tiny, banded[1:], [1, 2], seed=7)} == set(tiny.genres[1:])
    with pytest.raises(ValueError, match=r"at least two genres\. Received: genres \[1\]"):
        discriminative_filters(tiny, banded[:2], [1, 1], seed=7)

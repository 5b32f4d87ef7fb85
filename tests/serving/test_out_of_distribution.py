from __future__ import annotations

import numpy as np
import pytest

from tumbao.serving.out_of_distribution import (
    LENGTHS,
    SOUNDED_LEVEL,
    DistributionRanges,
    fit_ranges,
)
from tumbao.serving.resample_reference import image_statistics, sounded_columns

GREYS = np.repeat(np.arange(256)[:, np.newaxis], 3, axis=1).astype(np.uint8)
WIDTH = 40
ALL = np.ones(WIDTH, bool)


def noise(seed: int, columns: int = WIDTH, middle: float = 0, spread: float = 0) -> np.ndarray:
    """Make levels: noise in the first columns, the floor in the others; the seed determines the brightness."""
    rng = np.random.default_rng(seed)
    middle, spread = middle or rng.uniform(140, 180), spread or rng.uniform(30, 50)
    levels = middle + spread * rng.uniform(-1, 1, (60, WIDTH))
    levels[:, columns:] = 0
    return levels.astype(np.uint8)


@pytest.fixture(scope="module")
def known() -> DistributionRanges:
    found = fit_ranges(map(noise, range(40)), GREYS)
    assert found is not None
    return found


def test_statistics_computed_by_hand() -> None:
    # rows of means 15 and 50; in time ±5 and ±20; steps of columns 10 and 40, of rows 20 and 50
    image = np.array([[10.0, 20.0], [30.0, 70.0]])
    assert image_statistics(image, ALL[:2]) == pytest.approx([32.5, 17.5, 12.5, 25, 35])
    beside = np.array([[0.0, 10.0, 20.0, 0.0, 99.0], [0.0, 30.0, 70.0, 0.0, 99.0]])
    assert image_statistics(beside, np.array([False, True, True, False, False])) == pytest.approx(
        [32.5, 17.5, 12.5, 25, 35]
    )
    assert image_statistics(beside, np.array([False, True, False, False, True]))[3] == 0


@pytest.mark.parametrize(
    ("brightest", "sounded"),
    [
        ([9, 9, 9, 9], [True, True, True, True]),
        ([9, 9, 9, 0, 0], [True, True, False, False, False]),
        ([0, 9, 9, 9, 5], [False, False, True, False, False]),
        ([0, 9, 0, 9, 9], [False, False, False, False, True]),
        ([0, 9, 0, 9, 0], [False, True, False, True, False]),
        ([0, 0], [False, False]),
    ],
    ids=["all", "a short song", "least is silent", "two sounds", "clicks", "silence"],
)
def test_columns_with_sound_exclude_those_next_to_silence(brightest: list[int], sounded: list[bool]) -> None:
    image = np.stack([np.zeros(len(brightest)), np.array(brightest)])
    assert sounded_columns(image, 5).tolist() == sounded


def test_the_range_is_widened_by_half_on_each_side(known: DistributionRanges) -> None:
    traits = np.array([image_statistics(noise(seed).astype(float), ALL) for seed in range(40)])
    margin = (traits.max(axis=0) - traits.min(axis=0)) / 2
    assert known.low == pytest.approx(traits.min(axis=0) - margin, rel=1e-4)
    assert known.high == pytest.approx(traits.max(axis=0) + margin, rel=1e-4)
    assert (known.fragments, known.sounded_brightness) == (40, SOUNDED_LEVEL + 0.5)
    assert [one.columns for one in known.by_length] == [round(share * WIDTH) for share in LENGTHS]
    assert (known.by_length[-1].low, known.by_length[-1].high) == (known.low, known.high)


@pytest.mark.parametrize("columns", [4, 5, 9, 15, 22, 31, 37, WIDTH])
def test_recordings_of_any_length_are_compared(known: DistributionRanges, columns: int) -> None:
    for seed in range(100, 120):
        assert known.contains(GREYS[noise(seed, columns)])
        for other in (noise(seed, columns, middle=90), noise(seed, columns, spread=4)):
            other[0, 0] = 220  # as loud
            assert not known.contains(GREYS[other])


def test_a_quiet_part_is_raised_to_its_own_maximum() -> None:
    louder = np.linspace(100, 220, WIDTH)
    known = fit_ranges(((louder + noise(seed) * 0.2 - 32).astype(np.uint8) for seed in range(40)), GREYS)
    assert known is not None
    start = known.by_length[0]
    assert start.low[0] > 180  # about 100 under a loudest band of 220, and about 200 under one of its own


def test_short_training_songs_count_for_their_length() -> None:
    lengths = [WIDTH] * 3 + [12] * 15 + [5] * 9
    images = [noise(seed, columns) for seed, columns in enumerate(lengths)]
    known = fit_ranges(images, GREYS, least=16)
    assert known is not None
    assert [one.columns for one in known.by_length] == [4, 6, 9]  # 8 columns of 12 are too few for the next
    assert known.fragments == 18
    assert known.contains(GREYS[noise(99)])
    assert fit_ranges(images, GREYS, least=28) is None

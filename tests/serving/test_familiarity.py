from __future__ import annotations

import numpy as np
import pytest

from tumbao.serving.familiarity import MARGIN, TRAITS, Familiarity, familiarity, mostly_familiar, traits_of


def grey(brightness: np.ndarray) -> np.ndarray:
    return np.repeat(brightness[:, :, np.newaxis], 3, axis=2).astype(np.uint8)


def test_traits_worked_by_hand() -> None:
    # rows of means 15 and 50; in time ±5 and ±20; steps of columns 10 and 40, of rows 20 and 50
    image = grey(np.array([[10, 20], [30, 70]]))
    assert traits_of(image) == pytest.approx([32.5, 17.5, 12.5, 25, 35])
    coloured = np.array([[[0, 0, 30], [60, 0, 0]], [[0, 90, 0], [10, 100, 100]]], np.uint8)
    assert traits_of(coloured) == pytest.approx([32.5, 17.5, 12.5, 25, 35])


def test_an_even_image_has_brightness_alone() -> None:
    assert traits_of(grey(np.full((4, 5), 255))) == pytest.approx([255, 0, 0, 0, 0])


def test_the_range_is_widened_by_half_on_each_side() -> None:
    traits = np.zeros((2, len(TRAITS)))
    traits[1, 0] = 10
    known = familiarity(traits)
    assert MARGIN == 0.5
    assert (known.low[0], known.high[0], known.fragments) == (-5, 15, 2)
    for brightness, covered in ((-5, True), (15, True), (15.1, False), (-5.1, False)):
        assert known.covers(np.array([brightness, 0, 0, 0, 0])) is covered
    assert not known.covers(np.array([5, 0, 0, 0, 0.1]))
    assert all(known.covers(one) for one in traits)


def test_a_song_is_familiar_if_half_of_it_is() -> None:
    assert mostly_familiar([True, False])
    assert not mostly_familiar([True, False, False])
    assert not mostly_familiar([False])


def test_ranges_of_other_traits_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected 5 ranges"):
        Familiarity((0.0,), (1.0,), 3)

"""The probability of a genre is the sum over its leaves; names without sub-genres are leaves themselves."""

from __future__ import annotations

import numpy as np
import pytest

from tumbao.schema.genres import GENRES
from tumbao.schema.hierarchy import has_subgenres, in_order, main_genres, roll_up

LEAVES = ("cumbia", "salsa", "salsa/dura", "salsa/romantica", "vallenato/paseo", "vallenato/son")


def test_a_genre_is_the_sum_of_its_leaves() -> None:
    probabilities = np.array([[0.1, 0.2, 0.05, 0.25, 0.3, 0.1], [0.4, 0.0, 0.0, 0.3, 0.3, 0.0]], np.float32)
    genres, summed = roll_up(probabilities, LEAVES)
    assert genres == ("cumbia", "salsa", "vallenato")
    np.testing.assert_allclose(summed, [[0.1, 0.5, 0.4], [0.4, 0.3, 0.3]], atol=1e-7)
    assert roll_up(probabilities[0], LEAVES)[1].tolist() == summed[0].tolist()
    genres, backwards = roll_up(probabilities[:, ::-1], LEAVES[::-1])
    assert genres == ("vallenato", "salsa", "cumbia")
    np.testing.assert_allclose(backwards[:, ::-1], summed, atol=1e-7)


@pytest.mark.parametrize("genres", [GENRES, ("rock/pop", "salsa"), ("salsa/dura", "Old-Time / Historic")])
def test_without_subgenres_leaves_and_genres_are_the_same(genres: tuple[str, ...]) -> None:
    assert not has_subgenres(genres)
    assert main_genres(genres) == genres
    names, same = roll_up(np.eye(len(genres)), genres)
    assert names == genres
    np.testing.assert_array_equal(same, np.eye(len(genres)))


def test_leaves_of_a_genre_are_adjacent() -> None:
    names = ["salsa choke", "salsa/dura", "cumbia", "salsa", "salsa/brava", "salsa"]
    assert in_order(names) == ("cumbia", "salsa", "salsa/brava", "salsa/dura", "salsa choke")
    assert in_order(reversed(GENRES)) == GENRES

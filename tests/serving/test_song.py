from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tumbao.serving.song import (
    CHANGE_PENALTY,
    RULES,
    by_log_mean,
    combine,
    log_probabilities,
    sections,
)

THREE_WAY_TIE = [
    [0.4, 0.2, 0.2, 0.2],
    [0.7, 0.1, 0.1, 0.1],
    [0.2, 0.6, 0.1, 0.1],
    [0.2, 0.6, 0.1, 0.1],
    [0.1, 0.2, 0.7, 0.0],
    [0.1, 0.1, 0.8, 0.0],
]
"""Two votes each for 0, 1 and 2; the sums are 1.7, 1.8, 2.0 and 0.5."""

SONGS = arrays.arrays(float, st.tuples(st.integers(1, 9), st.just(4)), elements=st.floats(0.01, 1)).map(
    lambda weights: weights / weights.sum(axis=1, keepdims=True)
)


@pytest.mark.parametrize(
    ("song", "genre", "majority", "votes"),
    [
        pytest.param([[0.2, 0.5, 0.3]], 1, 1, (0, 1, 0), id="one fragment"),
        pytest.param([[0.55, 0.45, 0.0], [0.55, 0.45, 0.0], [0.0, 1.0, 0.0]], 1, 0, (2, 1, 0), id="sum and votes"),
        pytest.param([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]], 1, 1, (1, 1, 0), id="tie of votes"),
        pytest.param(
            [[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.0, 0.0, 1.0], [0.4, 0.3, 0.3], [0.3, 0.4, 0.3]],
            2,
            0,
            (2, 2, 1),
            id="tie without the genre of the largest sum",
        ),
        pytest.param(THREE_WAY_TIE, 2, 2, (2, 2, 2, 0), id="tie of three"),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], 0, 0, (2, 0), id="all equal"),
    ],
)
def test_combine(song: list[list[float]], genre: int, majority: int, votes: tuple[int, ...]) -> None:
    answer = combine(np.array(song))
    assert (answer.genre, answer.majority, answer.votes) == (genre, majority, votes)
    assert answer.probabilities == pytest.approx(np.mean(song, axis=0))


def test_each_rule_can_choose_another_genre() -> None:
    # votes 2, 1, 0; sums 1.0, 1.1, 0.9; products 0.25 / 512 (for the zero), 0.016, 0.024
    song = np.array([[0.5, 0.1, 0.4], [0.0, 0.8, 0.2], [0.5, 0.2, 0.3]])
    assert {name: rule(song) for name, rule in RULES.items()} == {"votes": 0, "sum": 1, "log-mean": 2}


def test_a_single_fragment_rules_no_genre_out() -> None:
    sure, against = [0.9, 0.1], [0.0, 1.0]
    assert by_log_mean(np.array([sure, sure, against])) == 1  # 0.81 / 512 < 0.01
    assert by_log_mean(np.array([sure, sure, sure, against])) == 0  # 0.729 / 512 > 0.001


@given(song=SONGS, seed=st.integers(0, 2**16))
def test_neither_the_order_of_fragments_nor_that_of_genres_changes_the_answer(song: np.ndarray, seed: int) -> None:
    answer, rng = combine(song), np.random.default_rng(seed)
    genres = rng.permutation(song.shape[1])
    other = combine(rng.permutation(song)[:, genres])
    assert other.probabilities == pytest.approx(np.array(answer.probabilities)[genres])
    assert sum(other.votes) == len(song)
    twice = combine(np.concatenate([song, song]))
    assert twice.probabilities == pytest.approx(answer.probabilities)
    assert np.array(answer.probabilities)[twice.genre] == pytest.approx(max(answer.probabilities))


@pytest.mark.parametrize(
    "probabilities",
    [[0.5, 0.5], np.zeros((0, 5)), [[1.0]], [[1.2, -0.2]], [[np.nan, 1.0]], [[0.5, 0.5], [0.9, 0.2]], [[0.0, 0.0]]],
)
def test_invalid_probabilities(probabilities: list) -> None:
    with pytest.raises(ValueError, match="Expected probabilities"):
        combine(np.asarray(probabilities))


CERTAIN = {"a": [1.0, 0.0, 0.0], "b": [0.0, 1.0, 0.0], "c": [0.0, 0.0, 1.0], "?": [0.4, 0.3, 0.3]}


def song_of(letters: str) -> np.ndarray:
    return np.array([CERTAIN[letter] for letter in letters])


def cut(probabilities: np.ndarray) -> list[tuple[float, float, str]]:
    """Name the sections of fragments of 30 s."""
    starts = [30.0 * i for i in range(len(probabilities))]
    found = sections(starts, 30.0 * len(probabilities), probabilities)
    return [(one.start_seconds, one.end_seconds, "abc"[one.genre]) for one in found]


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("a", [(0, 30, "a")]),
        ("aabaaacaa", [(0, 270, "a")]),  # a single fragment forms no section
        ("abab", [(0, 120, "a")]),
        ("a?b?a", [(0, 150, "a")]),
        ("aabb", [(0, 60, "a"), (60, 120, "b")]),
        ("aaabbccc", [(0, 90, "a"), (90, 150, "b"), (150, 240, "c")]),
        ("aacabbb", [(0, 120, "a"), (120, 210, "b")]),
    ],
)
def test_sections_of_a_medley(letters: str, expected: list) -> None:
    assert cut(song_of(letters)) == expected


def score(path: Sequence[int], gains: np.ndarray) -> float:
    changes = sum(one != other for one, other in itertools.pairwise(path))
    return float(gains[np.arange(len(path)), list(path)].sum() - CHANGE_PENALTY * changes)


def test_no_other_division_has_a_higher_score(rng: np.random.Generator) -> None:
    changed = 0
    for _ in range(60):
        probabilities = rng.dirichlet(np.full(3, 0.15), 7)
        found = sections(range(7), 7.0, probabilities)
        path = [one.genre for one in found for _ in range(one.fragments)]
        gains = log_probabilities(probabilities)
        best = max(score(other, gains) for other in itertools.product(range(3), repeat=7))
        assert score(path, gains) == pytest.approx(best)
        assert all(one.fragments > 1 for one in found)
        changed += len(found) > 1
    assert changed > 5


def test_sections_have_the_times_and_mean_probability_of_their_fragments() -> None:
    probabilities = np.array([[0.95, 0.05], [0.99, 0.01], [0.94, 0.06], [0.0, 1.0], [0.0, 1.0]])
    first, second = sections([30, 60, 90, 150, 180], 205.0, probabilities)
    assert (first.start_seconds, first.end_seconds, first.fragments) == (30, 150, 3)  # silence from 120 to 150
    assert first.probability == pytest.approx(0.96)
    assert (second.start_seconds, second.end_seconds, second.genre) == (150, 205.0, 1)

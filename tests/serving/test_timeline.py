from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from tumbao.serving.timeline import CHANGE_PENALTY, by_second, sections

from tumbao.serving.song import log_probabilities

SURE = {"a": [1.0, 0.0, 0.0], "b": [0.0, 1.0, 0.0], "c": [0.0, 0.0, 1.0], "?": [0.4, 0.3, 0.3]}


def song(letters: str) -> np.ndarray:
    return np.array([SURE[letter] for letter in letters])


def cut(probabilities: np.ndarray) -> list[tuple[float, float, str]]:
    """Name the sections of fragments of 30 s."""
    starts = [30.0 * i for i in range(len(probabilities))]
    found = sections(starts, 30.0 * len(probabilities), probabilities)
    return [(one.start_seconds, one.end_seconds, "abc"[one.genre]) for one in found]


@pytest.mark.parametrize("letters", ["a", "aaaaa", "aab", "baa", "aabaa", "aabaaacaa", "abab", "a?b?a"])
def test_single_fragments_make_no_section(letters: str) -> None:
    probabilities = song(letters)
    for one, other in itertools.pairwise(cut(probabilities)):
        raise AssertionError(f"{letters} changes from {one} to {other}")


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("aabb", [(0, 60, "a"), (60, 120, "b")]),
        ("aaabbccc", [(0, 90, "a"), (90, 150, "b"), (150, 240, "c")]),
        ("aabbbaa", [(0, 60, "a"), (60, 150, "b"), (150, 210, "a")]),
        ("aacabbb", [(0, 120, "a"), (120, 210, "b")]),
    ],
)
def test_a_medley_changes_where_it_does(letters: str, expected: list) -> None:
    assert cut(song(letters)) == expected


def test_weak_evidence_needs_more_fragments() -> None:
    # each fragment says log(0.7 / 0.2) = 1.25 nats for its genre against the other: five are needed for 6.24
    a, b = [0.7, 0.2, 0.1], [0.2, 0.7, 0.1]
    assert len(cut(np.array([a] * 8 + [b] * 4))) == 1
    assert cut(np.array([a] * 8 + [b] * 5)) == [(0, 240, "a"), (240, 390, "b")]


def score(path: Sequence[int], gains: np.ndarray) -> float:
    changes = sum(one != other for one, other in itertools.pairwise(path))
    return float(gains[np.arange(len(path)), list(path)].sum() - CHANGE_PENALTY * changes)


def test_no_other_division_is_better(rng: np.random.Generator) -> None:
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


def test_a_section_knows_its_fragments_and_probability() -> None:
    probabilities = np.array([[0.95, 0.05], [0.99, 0.01], [0.94, 0.06], [0.0, 1.0], [0.0, 1.0]])
    first, second = sections([30, 60, 90, 150, 180], 205.0, probabilities)
    assert (first.start_seconds, first.end_seconds, first.fragments) == (30, 150, 3)  # silence from 120 to 150
    assert first.probability == pytest.approx(0.96)
    assert (second.start_seconds, second.end_seconds, second.genre) == (150, 205.0, 1)


def test_each_second_has_the_probabilities_of_what_covers_it() -> None:
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.1, 0.9]])
    seconds = by_second([0, 1.5, 4], [2, 3, 5.3], probabilities)
    assert seconds[:, 0] == pytest.approx([0.9, 0.6, 0.3, np.nan, 0.1], nan_ok=True)
    covered = ~np.isnan(seconds[:, 0])
    assert seconds[covered].sum(axis=1) == pytest.approx(1)


def test_times_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"each of the 2 fragments\. Received: 1 times"):
        sections([0], 60, song("ab"))
    with pytest.raises(ValueError, match="Received: 3 times"):
        by_second([0, 30], [30, 60, 90], song("ab"))
    with pytest.raises(ValueError, match="logits"):
        sections([0], 30, np.array([[2.0, -1.0]]))

"""Genres of a song over time: probabilities per second, and the sections of a medley.

Sections are found by penalised segmentation: among all assignments of genres to fragments, the one that maximises the
sum of log-probabilities minus `CHANGE_PENALTY` per change of genre. Dynamic programming finds it exactly; it is the
Viterbi path of a hidden Markov model in which all changes are equally unlikely.

The penalty is the largest evidence of one fragment against a genre, log(1 / `SMALLEST_PROBABILITY`) = 6.24 nats. A
single fragment therefore never forms a section, whatever its probabilities and position. If all fragments are certain,
two of them form a section at the beginning, at the end and between two other genres; a section after which the former
genre returns requires three.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from tumbao.serving.song import SMALLEST_PROBABILITY, log_probabilities, validate

CHANGE_PENALTY = math.log(1 / SMALLEST_PROBABILITY)
"""Cost of a change of genre, in nats."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a song with one genre.

    Parameters
    ----------
    start_seconds : float
        Start of its first fragment, in seconds.
    end_seconds : float
        Start of the next section, or end of the last fragment for the last section, in seconds.
    genre : int
        Index of the genre.
    probability : float
        Mean probability of that genre over its fragments, in [0, 1].
    fragments : int
        Number of fragments.
    """

    start_seconds: float
    end_seconds: float
    genre: int
    probability: float
    fragments: int


def sections(starts: Sequence[float], end: float, probabilities: np.ndarray) -> tuple[Section, ...]:
    """Split a song into sections of one genre.

    Parameters
    ----------
    starts : sequence of float
        Start of each fragment, in seconds, ascending; length k. Fragments may be missing, as silent ones are.
    end : float
        End of the last fragment, in seconds.
    probabilities : np.ndarray [shape=(k, g)]
        Probabilities of each genre (columns) in each fragment (rows).

    Returns
    -------
    tuple of Section
        At least one; neighbours have different genres, and each section starts where the previous one ends.

    Raises
    ------
    ValueError
        If the probabilities violate the conventions of `serving.song`, or the number of starts differs.

    Examples
    --------
    >>> medley = np.array([[1.0, 0.0], [0.2, 0.8], [1.0, 0.0], [0.0, 1.0], [0.1, 0.9], [0.0, 1.0]])
    >>> [(section.start_seconds, section.genre) for section in sections([0, 30, 60, 90, 120, 150], 180, medley)]
    [(0, 0), (90, 1)]
    """
    _check(starts, probabilities)
    path = _best_path(log_probabilities(probabilities))
    firsts = [0, *(index for index in range(1, len(path)) if path[index] != path[index - 1])]
    ends = [*firsts[1:], len(path)]
    return tuple(
        Section(
            start_seconds=starts[first],
            end_seconds=starts[last] if last < len(path) else end,
            genre=path[first],
            probability=float(probabilities[first:last, path[first]].mean(dtype=np.float64)),
            fragments=last - first,
        )
        for first, last in zip(firsts, ends, strict=True)
    )


def by_second(starts: Sequence[float], ends: Sequence[float], probabilities: np.ndarray) -> np.ndarray:
    """Compute the probability of each genre in each second of a song.

    Parameters
    ----------
    starts, ends : sequence of float
        Start and end of each fragment, in seconds; length k each.
    probabilities : np.ndarray [shape=(k, g)]
        Probabilities of each genre (columns) in each fragment (rows).

    Returns
    -------
    np.ndarray [shape=(s, g), dtype=float64]
        Row i covers the time from i to i + 1 seconds: the mean of the fragments that cover its midpoint, NaN if there
        is none, as in silence. The last row is the last one whose midpoint lies before the end.

    Raises
    ------
    ValueError
        If the probabilities violate the conventions of `serving.song`, or the number of starts or ends differs.

    Examples
    --------
    >>> by_second([0, 2], [2, 3], np.array([[0.9, 0.1], [0.2, 0.8]]))[:, 0]
    array([0.9, 0.9, 0.2])
    """
    _check(starts, probabilities)
    _check(ends, probabilities)
    middles = np.arange(0.5, max(ends))
    covers = (np.array(starts) <= middles[:, None]) & (middles[:, None] < np.array(ends))
    total, count = covers @ probabilities.astype(np.float64), covers.sum(axis=1, keepdims=True)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _best_path(gains: np.ndarray) -> list[int]:
    """Find the genres that maximise gains minus penalties; ties are resolved without a change."""
    score, before = gains[0], []
    for gain in gains[1:]:
        best = int(score.argmax())
        changes = score < score[best] - CHANGE_PENALTY - 1e-9  # so that rounding errors do not cause a change
        before.append(np.where(changes, best, np.arange(len(score))))
        score = np.where(changes, score[best] - CHANGE_PENALTY, score) + gain
    path = [int(score.argmax())]
    for origin in reversed(before):
        path.append(int(origin[path[-1]]))
    return path[::-1]


def _check(times: Sequence[float], probabilities: np.ndarray) -> None:
    validate(probabilities)
    if len(times) != len(probabilities):
        raise ValueError(
            f"Expected a time for each of the {len(probabilities)} fragments. Received: {len(times)} times"
        )

"""Aggregation of fragment probabilities into one answer per song, and into the sections of a medley.

Conventions: a song is an array [k, g] of k >= 1 fragments in temporal order and g >= 2 genres in the order of the
model's outputs. Each row holds probabilities: values in [0, 1] that sum to 1, up to the rounding of a quantized model
(`ROW_SUM_TOLERANCE`).

There are three rules, `RULES`. "sum" and "votes" are the two proposals of the paper:

- "sum": the genre with the largest sum of probabilities. The normalised sum, which is the mean, is the song's
  probability of each genre. This is the rule in use.
- "votes": each fragment votes for its most probable genre, and the genre with the most votes wins. Ties are broken by
  the larger sum of probabilities.
- "log-mean": the genre with the largest mean of log-probabilities, as for independent fragments. Probabilities are
  clipped below at `SMALLEST_PROBABILITY`, so that a single fragment cannot rule a genre out.

Remaining ties go to the genre that comes first in the order of the outputs.

An answer is confident if the song's probability of its genre reaches a threshold, which `serving.calibration` chooses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

ROW_SUM_TOLERANCE = 0.05
"""Largest deviation of a fragment's sum of probabilities from 1."""

SMALLEST_PROBABILITY = 1 / 512
"""Lower clip of probabilities in logarithms: half a step of an 8-bit output, which is 0 below."""

CHANGE_PENALTY = math.log(1 / SMALLEST_PROBABILITY)
"""Cost of a change of genre between sections, in nats: the largest evidence of one fragment against a genre."""


@dataclasses.dataclass(frozen=True)
class SongAnswer:
    """The answer for a song.

    `genre` is the index of the genre with the largest sum of probabilities, `majority` that of the genre with the most
    votes. `probabilities` sum to 1. If `confident` is False, the answer is "none of the genres" and `genre` is only the
    most probable one.
    """

    genre: int
    probabilities: tuple[float, ...]
    majority: int
    votes: tuple[int, ...]
    confident: bool


def validate(probabilities: np.ndarray) -> None:
    """Raise `ValueError` if an array violates the conventions for a song in its shape, a value or the sum of a row."""
    if probabilities.ndim != 2 or probabilities.shape[0] < 1 or probabilities.shape[1] < 2:
        raise ValueError(
            f"Expected probabilities of shape (fragments >= 1, genres >= 2). Received: shape={probabilities.shape}"
        )
    if not np.all((probabilities >= 0) & (probabilities <= 1)):  # NaN fails both
        raise ValueError(
            f"Expected probabilities in [0, 1]. Received: {probabilities.min()} to {probabilities.max()}. "
            "Did you pass logits?"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if np.any(np.abs(sums - 1) > ROW_SUM_TOLERANCE):
        raise ValueError(f"Expected rows whose sum is 1. Received: sums from {sums.min():.3f} to {sums.max():.3f}")


def by_sum(probabilities: np.ndarray) -> int:
    """Choose the genre with the largest sum of probabilities."""
    return int(probabilities.sum(axis=0, dtype=np.float64).argmax())


def by_votes(probabilities: np.ndarray) -> int:
    """Choose the genre with the most votes; ties are broken by the larger sum of probabilities.

    >>> by_votes(np.array([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]]))
    0
    """
    votes = _votes(probabilities)
    return int(np.where(votes == votes.max(), probabilities.sum(axis=0, dtype=np.float64), -1).argmax())


def by_log_mean(probabilities: np.ndarray) -> int:
    """Choose the genre with the largest mean of log-probabilities."""
    return int(log_probabilities(probabilities).mean(axis=0).argmax())


RULES: Mapping[str, Callable[[np.ndarray], int]] = {"sum": by_sum, "votes": by_votes, "log-mean": by_log_mean}
"""All rules by name; the first one is in use."""


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Compute natural logarithms in float64, with probabilities clipped below at `SMALLEST_PROBABILITY`."""
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST_PROBABILITY))


def combine(probabilities: np.ndarray, threshold: float = 0.0) -> SongAnswer:
    """Aggregate the fragments of a song; `threshold` is the smallest probability of a confident answer.

    >>> answer = combine(np.array([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]]), threshold=0.7)
    >>> answer.genre, answer.majority, answer.votes, answer.confident
    (1, 0, (2, 1), False)
    """
    validate(probabilities)
    sums = probabilities.sum(axis=0, dtype=np.float64)
    means = sums / sums.sum()
    return SongAnswer(
        genre=by_sum(probabilities),
        probabilities=tuple(means.tolist()),
        majority=by_votes(probabilities),
        votes=tuple(_votes(probabilities).tolist()),
        confident=bool(means.max() >= threshold),
    )


def _votes(probabilities: np.ndarray) -> np.ndarray:
    return np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a song with one genre.

    It ends where the next one starts, or at the end of the last fragment. `probability` is the mean probability of the
    genre over its fragments.
    """

    start_seconds: float
    end_seconds: float
    genre: int
    probability: float
    fragments: int


def sections(starts: Sequence[float], end: float, probabilities: np.ndarray) -> tuple[Section, ...]:
    """Split a song into sections of one genre by penalised segmentation.

    `starts` are the starts of the fragments in seconds, ascending; fragments may be missing, as silent ones are. `end`
    is the end of the last one. Raises `ValueError` if the probabilities violate the conventions, or the number of
    starts differs.

    Among all assignments of genres to fragments, the one is chosen that maximises the sum of log-probabilities minus
    `CHANGE_PENALTY` per change of genre. A single fragment never forms a section, whatever its probabilities and
    position. If all fragments are certain, two of them form a section at the beginning, at the end and between two
    other genres; a section after which the former genre returns requires three.

    >>> medley = np.array([[1.0, 0.0], [0.2, 0.8], [1.0, 0.0], [0.0, 1.0], [0.1, 0.9], [0.0, 1.0]])
    >>> [(section.start_seconds, section.genre) for section in sections([0, 30, 60, 90, 120, 150], 180, medley)]
    [(0, 0), (90, 1)]
    """
    validate(probabilities)
    if len(starts) != len(probabilities):
        raise ValueError(
            f"Expected a start for each of the {len(probabilities)} fragments. Received: {len(starts)} starts"
        )
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


def _best_path(gains: np.ndarray) -> list[int]:
    """Find the genres that maximise gains minus penalties (Viterbi's algorithm); ties are resolved without a change."""
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

"""Aggregation of fragment probabilities into one answer per song, and into the sections of a medley.

A song is an array [k, g] of k >= 1 fragments in temporal order and g >= 2 genres in the order of the model's outputs.
Rows hold probabilities that sum to 1, up to the rounding of a quantized model. There are three rules:

- "sum": the genre with the largest sum of probabilities; the mean is the song's probability of each genre. This is the
  rule in use.
- "votes": each fragment votes for its most probable genre; ties are broken by the larger sum of probabilities.
- "log-mean": the genre with the largest mean of log-probabilities, as for independent fragments. They are clipped, so
  that a single fragment cannot rule a genre out.

"sum" and "votes" are the proposals of the paper. Remaining ties go to the genre that comes first. An answer is
confident if the song's probability of its genre reaches a threshold, which `serving.calibration` chooses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

ROW_SUM_TOLERANCE = 0.05  # largest deviation of a fragment's sum of probabilities from 1

SMALLEST_PROBABILITY = 1 / 512
"""Lower clip of probabilities in logarithms: half a step of an 8-bit output, which is 0 below."""

CHANGE_PENALTY = math.log(1 / SMALLEST_PROBABILITY)
"""Cost of a change of genre between sections, in nats: the largest evidence of one fragment against a genre."""


@dataclasses.dataclass(frozen=True)
class SongAnswer:
    """The answer for a song: the genres chosen by sum and by votes; without confidence, it is "none of the genres"."""

    genre: int
    probabilities: tuple[float, ...]
    majority: int
    votes: tuple[int, ...]
    confident: bool


def by_sum(probabilities: np.ndarray) -> int:
    """Choose the genre with the largest sum of probabilities."""
    return int(probabilities.sum(axis=0, dtype=np.float64).argmax())


def by_votes(probabilities: np.ndarray) -> int:
    """Choose the genre with the most votes; ties are broken by the larger sum of probabilities."""
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
    """Aggregate the fragments of a song; `threshold` is the smallest probability of a confident answer."""
    _validate(probabilities)
    sums = probabilities.sum(axis=0, dtype=np.float64)
    means = sums / sums.sum()
    return SongAnswer(
        genre=by_sum(probabilities),
        probabilities=tuple(means.tolist()),
        majority=by_votes(probabilities),
        votes=tuple(_votes(probabilities).tolist()),
        confident=bool(means.max() >= threshold),
    )


def _validate(probabilities: np.ndarray) -> None:
    """Raise `ValueError` if an array violates the conventions for a song in its shape, a value or the sum of a row."""
    if probabilities.ndim != 2 or probabilities.shape[0] < 1 or probabilities.shape[1] < 2:
        raise ValueError(
            f"Expected probabilities of shape (fragments >= 1, genres >= 2). Received: shape={probabilities.shape}"
        )
    low, high, sums = probabilities.min(), probabilities.max(), probabilities.sum(axis=1, dtype=np.float64)
    if not (low >= 0 and high <= 1 and np.abs(sums - 1).max() <= ROW_SUM_TOLERANCE):  # NaN fails
        raise ValueError(f"Expected probabilities, with rows whose sum is 1. Received: {low} to {high}, sums {sums}")


def _votes(probabilities: np.ndarray) -> np.ndarray:
    return np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a song with one genre."""

    start_seconds: float
    end_seconds: float
    genre: int
    probability: float
    fragments: int


def sections(starts: Sequence[float], end: float, probabilities: np.ndarray) -> tuple[Section, ...]:
    """Split a song into sections of one genre; `starts` are those of its fragments, `end` is that of the last one.

    Among all assignments of genres to fragments, the one is chosen that maximises the sum of log-probabilities minus
    `CHANGE_PENALTY` per change of genre. A single fragment never forms a section.
    """
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

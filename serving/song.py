"""Aggregation of fragment probabilities into one answer per song.

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
from collections.abc import Callable, Mapping

import numpy as np

ROW_SUM_TOLERANCE = 0.05
"""Largest deviation of a fragment's sum of probabilities from 1."""

SMALLEST_PROBABILITY = 1 / 512
"""Lower clip of probabilities in logarithms: half a step of an 8-bit output, which is 0 below."""


@dataclasses.dataclass(frozen=True)
class SongAnswer:
    """The answer for a song.

    Parameters
    ----------
    genre : int
        Index of the genre with the largest sum of probabilities. If not confident, it is only the closest genre.
    probabilities : tuple of float
        Probability of each genre, in [0, 1], summing to 1.
    majority : int
        Index of the genre with the most votes.
    votes : tuple of int
        Number of fragments that vote for each genre.
    confident : bool
        Whether the probability of the genre reaches the threshold; if not, the answer is "none of the genres".
    """

    genre: int
    probabilities: tuple[float, ...]
    majority: int
    votes: tuple[int, ...]
    confident: bool


def validate(probabilities: np.ndarray) -> None:
    """Check that an array follows the conventions for a song.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        Probabilities of each genre (columns) in each fragment (rows).

    Raises
    ------
    ValueError
        If the shape, a value or the sum of a row is invalid.
    """
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
    """Choose the genre with the largest sum of probabilities.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        A song that passes `validate`.

    Returns
    -------
    int
        Index of the genre.
    """
    return int(probabilities.sum(axis=0, dtype=np.float64).argmax())


def by_votes(probabilities: np.ndarray) -> int:
    """Choose the genre with the most votes; ties are broken by the larger sum of probabilities.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        A song that passes `validate`.

    Returns
    -------
    int
        Index of the genre.

    Examples
    --------
    >>> by_votes(np.array([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]]))
    0
    """
    votes = _votes(probabilities)
    return int(np.where(votes == votes.max(), probabilities.sum(axis=0, dtype=np.float64), -1).argmax())


def by_log_mean(probabilities: np.ndarray) -> int:
    """Choose the genre with the largest mean of log-probabilities.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        A song that passes `validate`.

    Returns
    -------
    int
        Index of the genre.
    """
    return int(log_probabilities(probabilities).mean(axis=0).argmax())


RULES: Mapping[str, Callable[[np.ndarray], int]] = {"sum": by_sum, "votes": by_votes, "log-mean": by_log_mean}
"""All rules by name; the first one is in use."""


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Compute natural logarithms, with probabilities clipped below at `SMALLEST_PROBABILITY`.

    Parameters
    ----------
    probabilities : np.ndarray
        Values in [0, 1].

    Returns
    -------
    np.ndarray [dtype=float64]
        Values in [-6.24, 0], of the same shape.
    """
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST_PROBABILITY))


def combine(probabilities: np.ndarray, threshold: float = 0.0) -> SongAnswer:
    """Aggregate the fragments of a song into one answer.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        Probabilities of each genre (columns) in each fragment (rows).
    threshold : float
        Smallest probability of a confident answer, in [0, 1].

    Returns
    -------
    SongAnswer
        Genre by sum of probabilities, and the votes.

    Raises
    ------
    ValueError
        If the probabilities violate the conventions.

    Examples
    --------
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

"""From the probabilities of a song's fragments to one answer for the song.

Conventions: a song is an array [k, g]: k >= 1 fragments in their order, g >= 2 genres in the order of the model's
outputs. Each row holds probabilities: values in [0, 1] whose sum is 1, up to the rounding of a quantized model
(`ROW_SUM_TOLERANCE`).

There are three rules, `RULES`. "sum" and "votes" are the paper's two proposals:

- "sum": the genre with the largest sum of probabilities. The normalised sum, which is the mean, is the song's
  probability of each genre. This is the answer of the product.
- "votes": each fragment votes for its most probable genre, most votes win, and a tie of votes goes to the larger sum.
- "log-mean": the genre with the largest mean of log-probabilities, as if the fragments were independent witnesses. A
  probability counts as `SMALLEST_PROBABILITY` at least, so that no fragment alone can rule a genre out.

What is still equal goes to the genre that comes first in the order of outputs.

An answer is confident if the song's probability of its genre reaches a threshold, which `serving.calibration` chooses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

ROW_SUM_TOLERANCE = 0.05
"""How far the sum of one fragment's probabilities may be from 1."""

SMALLEST_PROBABILITY = 1 / 512
"""What counts as the smallest probability in logarithms: half a step of an 8-bit model's output, which says 0 below."""


@dataclasses.dataclass(frozen=True)
class SongAnswer:
    """One answer for a song.

    Parameters
    ----------
    genre : int
        Index of the genre with the largest sum of probabilities: the answer, or the nearest genre if not confident.
    probabilities : tuple of float
        Probability of each genre, in [0, 1], sum 1.
    majority : int
        Index of the genre with the most votes.
    votes : tuple of int
        Fragments that vote for each genre; their sum is the number of fragments.
    confident : bool
        Whether the probability of the genre reaches the threshold; if not, the answer is none of the genres.
    """

    genre: int
    probabilities: tuple[float, ...]
    majority: int
    votes: tuple[int, ...]
    confident: bool


def validate(probabilities: np.ndarray) -> None:
    """Check that an array is a song as the conventions say.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        Probabilities of each genre (columns) in each fragment (rows).

    Raises
    ------
    ValueError
        If the shape, a value or the sum of a row is not as agreed.
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
    """Answer by the sum of probabilities.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        A song that `validate` lets pass.

    Returns
    -------
    int
        Index of the genre.
    """
    return int(probabilities.sum(axis=0, dtype=np.float64).argmax())


def by_votes(probabilities: np.ndarray) -> int:
    """Answer by the majority of fragments; a tie of votes goes to the larger sum of probabilities.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        A song that `validate` lets pass.

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
    """Answer by the mean of log-probabilities.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        A song that `validate` lets pass.

    Returns
    -------
    int
        Index of the genre.
    """
    return int(log_probabilities(probabilities).mean(axis=0).argmax())


RULES: Mapping[str, Callable[[np.ndarray], int]] = {"sum": by_sum, "votes": by_votes, "log-mean": by_log_mean}
"""Every rule by its name; the first is the product's answer."""


def log_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """Take the natural logarithm, of `SMALLEST_PROBABILITY` at least.

    Parameters
    ----------
    probabilities : np.ndarray
        Values in [0, 1].

    Returns
    -------
    np.ndarray [dtype=float64]
        Values from -6.24 to 0, of the same shape.
    """
    return np.log(np.maximum(probabilities.astype(np.float64), SMALLEST_PROBABILITY))


def combine(probabilities: np.ndarray, threshold: float = 0.0) -> SongAnswer:
    """Answer for a song from its fragments.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        Probabilities of each genre (columns) in each fragment (rows).
    threshold : float
        Smallest probability of a confident answer, in [0, 1].

    Returns
    -------
    SongAnswer
        Genre by sum of probabilities, and the votes beside it.

    Raises
    ------
    ValueError
        If the probabilities break the conventions.

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

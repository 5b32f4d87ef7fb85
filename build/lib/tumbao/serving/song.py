"""From the probabilities of a song's fragments to one answer for the song.

Conventions: a song is an array [k, g]: k >= 1 fragments in their order, g >= 2 genres in the order of the model's
outputs. Each row holds probabilities: values in [0, 1] whose sum is 1, up to the rounding of a quantized model
(`ROW_SUM_TOLERANCE`).

The answer is the genre with the largest sum of probabilities; the normalised sum, which is the mean, is the song's
probability of each genre. Beside it stands the majority: each fragment votes for its most probable genre, most votes
win, and a tie of votes goes to the larger sum. What is still equal goes to the genre that comes first in the order of
outputs.
"""

from __future__ import annotations

import dataclasses

import numpy as np

ROW_SUM_TOLERANCE = 0.05
"""How far the sum of one fragment's probabilities may be from 1."""


@dataclasses.dataclass(frozen=True)
class SongAnswer:
    """One answer for a song.

    Parameters
    ----------
    genre : int
        Index of the genre with the largest sum of probabilities: the answer.
    probabilities : tuple of float
        Probability of each genre, in [0, 1], sum 1.
    majority : int
        Index of the genre with the most votes.
    votes : tuple of int
        Fragments that vote for each genre; their sum is the number of fragments.
    """

    genre: int
    probabilities: tuple[float, ...]
    majority: int
    votes: tuple[int, ...]


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


def combine(probabilities: np.ndarray) -> SongAnswer:
    """Answer for a song from its fragments.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(k, g)]
        Probabilities of each genre (columns) in each fragment (rows).

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
    >>> answer = combine(np.array([[0.6, 0.4], [0.6, 0.4], [0.0, 1.0]]))
    >>> answer.genre, answer.majority, answer.votes
    (1, 0, (2, 1))
    """
    validate(probabilities)
    sums = probabilities.sum(axis=0, dtype=np.float64)
    votes = np.bincount(probabilities.argmax(axis=1), minlength=probabilities.shape[1])
    majority = np.where(votes == votes.max(), sums, -1).argmax()
    return SongAnswer(
        genre=int(sums.argmax()),
        probabilities=tuple((sums / sums.sum()).tolist()),
        majority=int(majority),
        votes=tuple(votes.tolist()),
    )

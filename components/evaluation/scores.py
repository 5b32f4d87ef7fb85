"""Figures of the test split's fragments from the model's answers, with what chance alone could have made of them.

Conventions: accuracies, precision, recall and F1 lie in 0–1; intervals are 95 %; an undefined figure (a genre that was
never predicted, or has no fragment) is NaN. Rows of the confusion matrix are the true genres, columns the predicted.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumbao.components.evaluation.intervals import Interval, wilson_interval
from tumbao.components.evaluation.run_data import Evaluation
from tumbao.schema.hierarchy import grouped, has_subgenres, roll_up

RESAMPLES = 2_000
"""Resamples of the bootstrap: its ends are then steady to about half a point."""

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped to this in the cross-entropy, as Keras does."""


@dataclass(frozen=True)
class GenreScore:
    """Figures of one genre.

    Parameters
    ----------
    genre : str
        The genre.
    fragments : int
        Its fragments in the test split.
    precision, recall, f1 : float
        In 0–1, NaN where undefined.
    """

    genre: str
    fragments: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Scores:
    """All figures of the test split.

    Parameters
    ----------
    fragments, songs : int
        How many of each were tested.
    loss : float
        Mean cross-entropy of the fragments, in nats.
    accuracy : Interval
        Of fragments; the interval comes from resampling songs.
    confusion : numpy.ndarray of int64 [g, g]
        Fragments.
    genres : tuple of GenreScore
        In the order of the model's outputs.
    main : Scores or None
        The same of genres as the sums over their leaves; None where there are no sub-genres.
    """

    fragments: int
    songs: int
    loss: float
    accuracy: Interval
    confusion: npt.NDArray[np.int64]
    genres: tuple[GenreScore, ...]
    main: Scores | None = None


def scores(evaluation: Evaluation) -> Scores:
    """Compute every figure of the test split.

    Parameters
    ----------
    evaluation : Evaluation
        The model's answers.

    Returns
    -------
    Scores
        The figures; the same answers give the same figures.
    """
    labels, probabilities = evaluation.labels, evaluation.probabilities
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(evaluation.genres), len(evaluation.genres)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    share = interval_over_songs(predicted == labels, evaluation.songs)
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels], SMALLEST_PROBABILITY, 1.0)
    return Scores(
        fragments=len(labels),
        songs=len(np.unique(evaluation.songs)),
        loss=float(-np.log(of_truth).mean()) if evaluation.loss is None else evaluation.loss,
        accuracy=share if evaluation.accuracy is None else dataclasses.replace(share, value=evaluation.accuracy),
        confusion=confusion,
        genres=genre_scores(confusion, evaluation.genres),
        main=scores(_rolled_up(evaluation)) if has_subgenres(evaluation.genres) else None,
    )


def _rolled_up(evaluation: Evaluation) -> Evaluation:
    genres, probabilities = roll_up(evaluation.probabilities, evaluation.genres)
    _, genre_of = grouped(evaluation.genres)
    return Evaluation(genres, genre_of[evaluation.labels], probabilities, evaluation.songs)


def genre_scores(confusion: npt.NDArray[np.int64], genres: tuple[str, ...]) -> tuple[GenreScore, ...]:
    """Compute precision, recall and F1 of each genre.

    Parameters
    ----------
    confusion : numpy.ndarray of int64 [g, g]
        Rows true, columns predicted.
    genres : tuple of str
        Names, length g.

    Returns
    -------
    tuple of GenreScore
        One for each genre, in the same order.
    """
    right, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        GenreScore(
            genre=genre,
            fragments=int(true[i]),
            precision=_share(right[i], predicted[i]),
            recall=_share(right[i], true[i]),
            f1=_share(2 * right[i], true[i] + predicted[i]),
        )
        for i, genre in enumerate(genres)
    )


def interval_over_songs(right: npt.NDArray[np.bool_], songs: npt.NDArray[np.str_], seed: int = 0) -> Interval:
    """Compute the accuracy of fragments with a 95 % bootstrap interval that draws whole songs.

    Fragments of one song resemble each other, so counting them as independent would make the interval too narrow. Where
    all songs have the same accuracy (every fragment right, or one song only) resampling finds no spread although there
    is some; Wilson's interval for that many songs stands in.

    Parameters
    ----------
    right : numpy.ndarray of bool [n]
        Whether each fragment was answered correctly, n at least 1.
    songs : numpy.ndarray of str [n]
        The song of each fragment.
    seed : int
        Seed of the resampling.

    Returns
    -------
    Interval
        The accuracy and its interval.
    """
    _, song, fragments = np.unique(songs, return_inverse=True, return_counts=True)
    right_in_song = np.bincount(song, weights=right)
    accuracy = float(right.mean())
    if np.ptp(right_in_song / fragments) == 0:
        return wilson_interval(accuracy * len(fragments), len(fragments))
    equal = np.full(len(fragments), 1 / len(fragments))
    drawn = np.random.default_rng(seed).multinomial(len(fragments), equal, size=RESAMPLES)
    low, high = np.quantile((drawn @ right_in_song) / (drawn @ fragments), [0.025, 0.975])
    return Interval(accuracy, float(low), float(high))


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan

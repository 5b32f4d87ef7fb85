"""Figures of the test split from the model's answers, with what chance alone could have made of them.

Conventions: accuracies, precision, recall and F1 lie in 0–1; intervals are 95 %; an undefined figure (a genre that was
never predicted, or has no fragment) is NaN. Rows of the confusion matrix are the true genres, columns the predicted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumbao.components.report.data import Evaluation
from tumbao.serving.song import combine

Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % quantile."""

RESAMPLES = 2_000
"""Resamples of the bootstrap: its ends are then steady to about half a point."""

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped to this in the cross-entropy, as Keras does."""


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval.

    Parameters
    ----------
    value, low, high : float
        The share and the interval's ends, 0–1.
    """

    value: float
    low: float
    high: float


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
    song_accuracy : Interval
        Of songs answered by the sum of their fragments' probabilities (the product's rule).
    vote_accuracy : Interval
        Of songs answered by the majority of their fragments.
    confusion : numpy.ndarray of int64 [g, g]
        Fragments.
    genres : tuple of GenreScore
        In the order of the model's outputs.
    """

    fragments: int
    songs: int
    loss: float
    accuracy: Interval
    song_accuracy: Interval
    vote_accuracy: Interval
    confusion: npt.NDArray[np.int64]
    genres: tuple[GenreScore, ...]


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
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels], SMALLEST_PROBABILITY, 1.0)
    by_sum, by_vote = _songs_right(evaluation)
    return Scores(
        fragments=len(labels),
        songs=len(by_sum),
        loss=float(-np.log(of_truth).mean()),
        accuracy=interval_over_songs(predicted == labels, evaluation.songs),
        song_accuracy=wilson_interval(sum(by_sum), len(by_sum)),
        vote_accuracy=wilson_interval(sum(by_vote), len(by_vote)),
        confusion=confusion,
        genres=genre_scores(confusion, evaluation.genres),
    )


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


def wilson_interval(successes: float, trials: int) -> Interval:
    """Compute Wilson's 95 % interval of a share; unlike the usual one it is honest for few trials and near 0 and 1.

    Parameters
    ----------
    successes : float
        How many went right, 0 to `trials`.
    trials : int
        How many there were, at least 1.

    Returns
    -------
    Interval
        The share and its interval.
    """
    share, spread = successes / trials, Z_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


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


def _songs_right(evaluation: Evaluation) -> tuple[list[bool], list[bool]]:
    by_sum, by_vote = [], []
    for song in np.unique(evaluation.songs):
        rows = evaluation.songs == song
        label, answer = evaluation.labels[rows][0], combine(evaluation.probabilities[rows])
        by_sum.append(bool(answer.genre == label))
        by_vote.append(bool(answer.majority == label))
    return by_sum, by_vote

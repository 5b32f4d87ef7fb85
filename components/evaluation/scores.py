"""Metrics of the test split's fragments, with bootstrap intervals.

Accuracies, precision, recall and F1 are in 0–1; intervals are 95 %; an undefined value (a genre that was never
predicted, or has no fragment) is NaN. Rows of the confusion matrix are the true genres, columns the predicted ones.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tumbao.components.evaluation.intervals import Interval, wilson_interval
from tumbao.components.evaluation.run_data import Evaluation
from tumbao.schema.hierarchy import grouped, has_subgenres, roll_up

RESAMPLES = 2_000
"""Bootstrap resamples, enough for interval ends that are stable to about half a percentage point."""

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped to this value in the cross-entropy, as in Keras."""


@dataclass(frozen=True)
class GenreScore:
    """Metrics of one genre; `fragments` are those of the test split."""

    genre: str
    fragments: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Scores:
    """All metrics of the test split.

    `loss` is the mean cross-entropy of the fragments in nats; the interval of `accuracy` (of fragments) resamples
    songs; `confusion` int64 [genres, genres] counts fragments. `main` has the same metrics for genres as sums over
    their sub-genres; None without sub-genres.
    """

    fragments: int
    songs: int
    loss: float
    accuracy: Interval
    confusion: npt.NDArray[np.int64]
    genres: tuple[GenreScore, ...]
    main: Scores | None = None


def scores(evaluation: Evaluation) -> Scores:
    """Compute every metric of the test split; deterministic."""
    labels, probabilities = evaluation.labels, evaluation.probabilities
    predicted = probabilities.argmax(axis=1)
    indexes = range(len(evaluation.genres))
    by_genre = precision_recall_fscore_support(labels, predicted, labels=indexes, zero_division=np.nan)
    share = interval_over_songs(predicted == labels, evaluation.songs)
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels], SMALLEST_PROBABILITY, 1.0)
    return Scores(
        fragments=len(labels),
        songs=len(np.unique(evaluation.songs)),
        loss=float(-np.log(of_truth).mean()) if evaluation.loss is None else evaluation.loss,
        accuracy=share if evaluation.accuracy is None else dataclasses.replace(share, value=evaluation.accuracy),
        confusion=confusion_matrix(labels, predicted, labels=indexes),
        genres=tuple(
            GenreScore(genre, int(fragments), float(precision), float(recall), float(f1))
            for genre, precision, recall, f1, fragments in zip(evaluation.genres, *by_genre, strict=True)
        ),
        main=scores(_rolled_up(evaluation)) if has_subgenres(evaluation.genres) else None,
    )


def _rolled_up(evaluation: Evaluation) -> Evaluation:
    genres, probabilities = roll_up(evaluation.probabilities, evaluation.genres)
    _, genre_of = grouped(evaluation.genres)
    return Evaluation(genres, genre_of[evaluation.labels], probabilities, evaluation.songs)


def interval_over_songs(right: npt.NDArray[np.bool_], songs: npt.NDArray[np.str_], seed: int = 0) -> Interval:
    """Compute the accuracy of fragments with a 95 % bootstrap interval that resamples whole songs.

    `right` bool [n] and `songs` str [n] are by fragment, n at least 1. Fragments of one song resemble each other, so
    resampling them independently would make the interval too narrow. Where all songs have the same accuracy (every
    fragment correct, or one song only) resampling finds no spread, so Wilson's interval for that many songs is used.
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

"""Figures of models from weighted sums over songs.

The weight of a song is how often it was drawn. The same matrix product returns the figure itself (each weight 1) and
all its bootstrap draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumbao.analysis.compare.pooling import Pool
from tumbao.components.evaluation.scores import SMALLEST_PROBABILITY
from tumbao.serving.calibration import BIN_SONGS, MAX_BINS
from tumbao.serving.song import by_sum, by_votes

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums over the fragments of each of n songs, for each of s seeds; all arrays are float64.

    `fragments` [n] counts the fragments and `confusion` [s, n, g, g] counts them by true genre (rows) and predicted
    genre (columns). `loss` [s, n] is the sum of cross-entropies, in nats. `gaps` [s, n, b] is the sum of confidence
    minus correctness of the fragments in each of b bins of confidence. `by_sum` and `by_votes` [s, n] are 1 where this
    rule of `serving.song` classifies the song correctly, else 0.
    """

    fragments: Floats
    confusion: Floats
    loss: Floats
    gaps: Floats
    by_sum: Floats
    by_votes: Floats

    @property
    def right(self) -> Floats:
        """Number of correctly classified fragments [s, n]."""
        return np.trace(self.confusion, axis1=2, axis2=3)


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures of r draws and s seeds, float64 [r, s]; `f1` is [r, s, genres].

    `song_accuracy_sum` and `song_accuracy_votes` are of songs, by the paper's two rules; all others are of fragments.
    `balanced_accuracy` is the mean accuracy of the genres that were drawn, `cross_entropy` is in nats, and
    `calibration_error` is the expected calibration error, 0–1. `f1` is NaN where no song of the genre was drawn.
    """

    accuracy: Floats
    balanced_accuracy: Floats
    cross_entropy: Floats
    calibration_error: Floats
    song_accuracy_sum: Floats
    song_accuracy_votes: Floats
    f1: Floats


def tally(pool: Pool) -> Tally:
    """Sum up the answers to each song."""
    seeds, fragments, genres = pool.probabilities.shape
    song, labels = np.repeat(np.arange(len(pool.songs)), pool.counts), np.repeat(pool.labels, pool.counts)
    ends = np.cumsum(pool.counts)
    predicted, seed = pool.probabilities.argmax(axis=2), np.arange(seeds)[:, np.newaxis]
    confusion = np.zeros((seeds, len(pool.songs), genres, genres))
    np.add.at(confusion, (seed, song, labels, predicted), 1)
    of_truth = pool.probabilities[:, np.arange(fragments), labels].astype(np.float64)
    loss = -np.log(np.clip(of_truth, SMALLEST_PROBABILITY, 1.0))
    confidence = pool.probabilities.max(axis=2).astype(np.float64)
    bins = min(MAX_BINS, max(1, len(pool.songs) // BIN_SONGS))
    gaps = np.zeros((seeds, len(pool.songs), bins))
    np.add.at(gaps, (seed, song, _bins(confidence, bins)), confidence - (predicted == labels))
    answers = [np.split(of_seed, ends[:-1]) for of_seed in pool.probabilities]
    by_rule = [
        np.array([[rule(answer) for answer in of_seed] for of_seed in answers]) == pool.labels
        for rule in (by_sum, by_votes)
    ]
    return Tally(
        fragments=pool.counts.astype(np.float64),
        confusion=confusion,
        loss=np.add.reduceat(loss, ends - pool.counts, axis=1),
        gaps=gaps,
        by_sum=by_rule[0].astype(np.float64),
        by_votes=by_rule[1].astype(np.float64),
    )


def accuracies(sums: Tally, weights: Floats) -> Floats:
    """Return the fragment accuracy of each seed [r, s] for song weights [r, n]."""
    return weights @ sums.right.T / (weights @ sums.fragments)[:, np.newaxis]


def figures(sums: Tally, weights: Floats) -> Figures:
    """Return all figures for song weights [r, n]; each row needs a positive weight."""
    fragments, songs = (weights @ sums.fragments)[:, np.newaxis], weights.sum(axis=1, keepdims=True)
    confusion = np.tensordot(weights, sums.confusion, axes=(1, 1))  # [r, s, g, g]
    right = np.diagonal(confusion, axis1=2, axis2=3)
    true, predicted = confusion.sum(axis=3), confusion.sum(axis=2)
    drawn = np.where(true > 0, true, np.nan)
    return Figures(
        accuracy=accuracies(sums, weights),
        balanced_accuracy=np.nanmean(right / drawn, axis=2),
        cross_entropy=weights @ sums.loss.T / fragments,
        calibration_error=np.abs(np.tensordot(weights, sums.gaps, axes=(1, 1))).sum(axis=2) / fragments,
        song_accuracy_sum=weights @ sums.by_sum.T / songs,
        song_accuracy_votes=weights @ sums.by_votes.T / songs,
        f1=2 * right / (drawn + predicted),
    )


def _bins(confidence: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Return the bin of each fragment [s, f]; bins are equally filled and numbered by ascending confidence."""
    sizes = [len(part) for part in np.array_split(np.arange(confidence.shape[1]), bins)]
    numbers = np.empty(confidence.shape, np.int64)
    order = np.argsort(confidence, axis=1, kind="stable")
    np.put_along_axis(numbers, order, np.repeat(np.arange(bins), sizes)[np.newaxis], axis=1)
    return numbers

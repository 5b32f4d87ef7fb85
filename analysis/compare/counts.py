"""From answers to figures by way of sums over songs, so that drawing songs is a product of matrices.

Every figure of a pool is made of sums over its songs; with the songs weighted by how often they were drawn, the same
function gives the figure (each weight 1) and all its draws.
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
    """What each of n songs adds to the figures, for each of s seeds.

    Parameters
    ----------
    fragments : numpy.ndarray of float64 [n]
        Fragments.
    confusion : numpy.ndarray of float64 [s, n, g, g]
        Fragments by true (rows) and predicted genre (columns).
    loss : numpy.ndarray of float64 [s, n]
        Sum of the fragments' cross-entropy, in nats.
    gaps : numpy.ndarray of float64 [s, n, b]
        Sum of confidence less right answers of the fragments in each bin of confidence.
    by_sum, by_votes : numpy.ndarray of float64 [s, n]
        1 where the song is answered rightly by this rule of `serving.song`, else 0.
    """

    fragments: Floats
    confusion: Floats
    loss: Floats
    gaps: Floats
    by_sum: Floats
    by_votes: Floats

    @property
    def right(self) -> Floats:
        """Fragments answered rightly, [s, n]."""
        return np.trace(self.confusion, axis1=2, axis2=3)


@dataclass(frozen=True, eq=False)
class Figures:
    """Figures of r draws and s seeds.

    Parameters
    ----------
    accuracy, balanced_accuracy : numpy.ndarray of float64 [r, s]
        Share of fragments answered rightly; mean of this share over the genres that were drawn.
    cross_entropy : numpy.ndarray of float64 [r, s]
        Of fragments, in nats.
    calibration_error : numpy.ndarray of float64 [r, s]
        Expected calibration error of fragments, 0–1.
    song_accuracy_sum, song_accuracy_votes : numpy.ndarray of float64 [r, s]
        Share of songs answered rightly by either of the paper's rules.
    f1 : numpy.ndarray of float64 [r, s, g]
        Of fragments of each genre; NaN where no song of the genre was drawn.
    """

    accuracy: Floats
    balanced_accuracy: Floats
    cross_entropy: Floats
    calibration_error: Floats
    song_accuracy_sum: Floats
    song_accuracy_votes: Floats
    f1: Floats


def tally(pool: Pool) -> Tally:
    """Sum up each song's answers.

    Parameters
    ----------
    pool : Pool
        The answers.

    Returns
    -------
    Tally
        The sums.
    """
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
    """Compute the accuracy of fragments of weighted songs.

    Parameters
    ----------
    sums : Tally
        Sums of n songs.
    weights : numpy.ndarray of float64 [r, n]
        How often each song counts.

    Returns
    -------
    numpy.ndarray of float64 [r, s]
        Share of right answers of each seed.
    """
    return weights @ sums.right.T / (weights @ sums.fragments)[:, np.newaxis]


def figures(sums: Tally, weights: Floats) -> Figures:
    """Compute all figures of weighted songs.

    Parameters
    ----------
    sums : Tally
        Sums of n songs.
    weights : numpy.ndarray of float64 [r, n]
        How often each song counts; at least one song of a row counts.

    Returns
    -------
    Figures
        The figures.
    """
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
    """Sort fragments into bins of equally many, numbered from the least sure to the surest: [s, f]."""
    sizes = [len(part) for part in np.array_split(np.arange(confidence.shape[1]), bins)]
    numbers = np.empty(confidence.shape, np.int64)
    order = np.argsort(confidence, axis=1, kind="stable")
    np.put_along_axis(numbers, order, np.repeat(np.arange(bins), sizes)[np.newaxis], axis=1)
    return numbers

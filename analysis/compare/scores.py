"""Scores of a model under one split, with confidence intervals.

A score is computed for each seed, with folds joined; its value is the mean over seeds. The 95 % interval of this mean
is the bootstrap over songs: fragments of one song resemble each other, so whole songs are resampled, each with all its
fragments. All models use the same samples, which pairs them. The interval covers the choice of test songs but not of
seeds, whose standard deviation is stated separately. All figures are weighted sums over songs, where the weight of a
song is how often it was sampled: the same matrix product returns the figure itself (all weights 1) and all its
bootstrap replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumbao.analysis.compare.trial import Pool
from tumbao.components.evaluation.metrics import RESAMPLES, SMALLEST_PROBABILITY, wilson_interval
from tumbao.components.ingest.splits import is_leaky
from tumbao.serving.calibration import BIN_SONGS, MAX_BINS
from tumbao.serving.song import by_sum, by_votes

Floats = npt.NDArray[np.float64]

ENOUGH = 3
"""Minimum number of correct songs, and of wrong ones, to use the bootstrap alone: with fewer, its intervals contained
the true value in only 50 to 87 of 100 simulations."""

SHARES = ("accuracy", "balanced_accuracy", "song_accuracy_sum", "song_accuracy_votes")
"""Measures that are shares, shown in percent."""

MEASURES = (*SHARES, "cross_entropy", "calibration_error")
"""Attributes of `Score` with an estimate, in the order of the tables."""


def song_weights(groups: npt.NDArray[np.integer], seed: int = 0) -> npt.NDArray[np.float64]:
    """Sample songs with replacement, as many from each group as it has.

    `groups` [n] holds the group of each song; the ordinary bootstrap has one group. Returns how often each song was
    sampled, float64 [RESAMPLES, n].
    """
    rng = np.random.default_rng(seed)
    weights = np.empty((RESAMPLES, len(groups)))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=RESAMPLES)
    return weights


def interval(replicates: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the middle 95 % of the replicates, or None if they have no spread.

    `replicates` [r] holds a figure of each sample, NaN where it is undefined. Without spread, the interval of the
    figure is unknown, not empty.
    """
    low, high = np.nanquantile(replicates, [0.025, 0.975])
    return None if math.isclose(np.nanmin(replicates), np.nanmax(replicates), abs_tol=1e-12) else (low, high)


def p_value(replicates: npt.NDArray[np.float64], differing: int) -> float:
    """Return the two-sided p-value of a difference, in (0, 1].

    `replicates` [r] holds the difference in each sample, `differing` the number of songs on which the models differ. If
    each of these songs were as likely to differ in either direction, all would have the same sign with probability
    2 / 2 ** differing. The p-value is never below that.
    """
    against = min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    return min(1.0, max(2 * (against + 1) / (len(replicates) + 1), 2.0 ** (1 - differing)))


def holm(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Correct p-values [m] for multiple testing by Holm's method; the result is in the same order, at most 1."""
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval over songs.

    `value` is the mean over `seeds`, the figure of each seed. Value and interval are NaN where undefined.
    """

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds; NaN for one seed."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else math.nan


@dataclass(frozen=True)
class Cost:
    """What a model costs: see `trial.ModelCost`; `train_seconds` is the mean time of one training."""

    parameters: int
    trainable_parameters: int
    tflite_bytes: int | None
    tflite_note: str
    train_seconds: float
    inference_ms: float


@dataclass(frozen=True)
class Score:
    """All scores of one model under one protocol.

    Song accuracies are by the paper's two rules; all other scores are of fragments. `f1` is in the order of genres.
    `validation` is the mean accuracy on validation fragments over trainings, by which a model can be chosen.
    """

    model: str
    protocol: str
    songs: int
    fragments: int
    folds: int
    accuracy: Estimate
    balanced_accuracy: Estimate
    cross_entropy: Estimate
    calibration_error: Estimate
    song_accuracy_sum: Estimate
    song_accuracy_votes: Estimate
    f1: tuple[Estimate, ...]
    validation: float
    cost: Cost

    @property
    def leaky(self) -> bool:
        """Whether fragments of one song can be on both sides of the split."""
        return is_leaky(self.protocol)


@dataclass(frozen=True, eq=False)
class SongCounts:
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


def song_counts(pool: Pool) -> SongCounts:
    """Count the predictions of each song."""
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
    by_song = [np.split(of_seed, ends[:-1]) for of_seed in pool.probabilities]
    sums, votes = (
        np.array([[rule(fragments) for fragments in of_seed] for of_seed in by_song]) == pool.labels
        for rule in (by_sum, by_votes)
    )
    return SongCounts(
        fragments=pool.counts.astype(np.float64),
        confusion=confusion,
        loss=np.add.reduceat(loss, ends - pool.counts, axis=1),
        gaps=gaps,
        by_sum=sums.astype(np.float64),
        by_votes=votes.astype(np.float64),
    )


def _bins(confidence: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Return the bin of each fragment [s, f]; bins are equally filled and numbered by ascending confidence."""
    ranks = np.argsort(np.argsort(confidence, axis=1, kind="stable"), axis=1)
    sizes = [len(part) for part in np.array_split(ranks[0], bins)]
    return np.repeat(np.arange(bins), sizes)[ranks]


def accuracies(counts: SongCounts, weights: Floats) -> Floats:
    """Return the fragment accuracy of each seed [r, s] for song weights [r, n]."""
    return weights @ counts.right.T / (weights @ counts.fragments)[:, np.newaxis]


def figures(counts: SongCounts, weights: Floats) -> dict[str, Floats]:
    """Return the `MEASURES` [r, s], and "f1" [r, s, genres], for song weights [r, n]; each row has a positive weight.

    `song_accuracy_sum` and `song_accuracy_votes` are of songs, by the paper's two rules; all others are of fragments.
    `balanced_accuracy` is the mean accuracy of the genres that were sampled, `cross_entropy` is in nats, and
    `calibration_error` is the expected calibration error, 0–1. F1 is NaN where no song of the genre was sampled.
    """
    fragments, songs = (weights @ counts.fragments)[:, np.newaxis], weights.sum(axis=1, keepdims=True)
    confusion = np.tensordot(weights, counts.confusion, axes=(1, 1))  # [r, s, g, g]
    right = np.diagonal(confusion, axis1=2, axis2=3)
    true, predicted = confusion.sum(axis=3), confusion.sum(axis=2)
    support = np.where(true > 0, true, np.nan)
    return {
        "accuracy": accuracies(counts, weights),
        "balanced_accuracy": np.nanmean(right / support, axis=2),
        "song_accuracy_sum": weights @ counts.by_sum.T / songs,
        "song_accuracy_votes": weights @ counts.by_votes.T / songs,
        "cross_entropy": weights @ counts.loss.T / fragments,
        "calibration_error": np.abs(np.tensordot(weights, counts.gaps, axes=(1, 1))).sum(axis=2) / fragments,
        "f1": 2 * right / (support + predicted),
    }


def score(pool: Pool, counts: SongCounts, weights: Floats) -> Score:
    """Compute all scores of one model; `weights` [r, n] holds how often each song was sampled."""
    songs = len(pool.songs)
    point = {name: values[0] for name, values in figures(counts, np.ones((1, songs))).items()}
    replicates = figures(counts, weights)
    return Score(
        model=pool.trials[0].model,
        protocol=pool.trials[0].protocol,
        songs=songs,
        fragments=int(pool.counts.sum()),
        folds=len({trial.fold for trial in pool.trials}),
        **{name: _share(point[name], replicates[name], songs) for name in SHARES},
        cross_entropy=_cross_entropy(point, replicates),
        calibration_error=_calibration_error(point, replicates),
        f1=tuple(
            _f1(point["f1"][:, genre], replicates["f1"][:, :, genre], int((pool.labels == genre).sum()))
            for genre in range(point["f1"].shape[1])
        ),
        validation=float(np.mean([trial.val_accuracy for trial in pool.trials])),
        cost=_cost(pool),
    )


def _share(seeds: Floats, replicates: Floats, songs: int) -> Estimate:
    """Estimate a share; with few correct or few wrong predictions the bootstrap underestimates the spread."""
    value = float(seeds.mean())
    return _estimate(seeds, replicates, songs, few=songs * min(value, 1.0 - value) < ENOUGH)


def _f1(seeds: Floats, replicates: Floats, songs: int) -> Estimate:
    """Estimate the F1 of a genre with this number of songs."""
    if not songs:
        return Estimate(math.nan, math.nan, math.nan, tuple(seeds.tolist()))
    return _estimate(seeds, replicates, songs, few=songs < ENOUGH)


def _estimate(seeds: Floats, replicates: Floats, songs: int, *, few: bool) -> Estimate:
    """Return value and interval; with few songs or no spread, the interval contains Wilson's for that many songs."""
    value, ends = float(seeds.mean()), interval(replicates.mean(axis=1))
    wilson = wilson_interval(value * songs, songs)
    low, high = ends or (wilson.low, wilson.high)
    if few:
        low, high = min(low, wilson.low), max(high, wilson.high)
    return Estimate(value, low, high, tuple(seeds.tolist()))


def _cross_entropy(point: Mapping[str, Floats], replicates: Mapping[str, Floats]) -> Estimate:
    seeds = point["cross_entropy"]
    value, ends = float(seeds.mean()), interval(replicates["cross_entropy"].mean(axis=1))
    return Estimate(value, *(ends or (value, value)), tuple(seeds.tolist()))


def _calibration_error(point: Mapping[str, Floats], replicates: Mapping[str, Floats]) -> Estimate:
    """Estimate the calibration error.

    It is a sum of absolute differences, so noise increases it: the estimate exceeds the true value, and the replicates
    exceed the estimate. The middle 95 % of the replicates would be biased twice: for a well calibrated model they never
    contained the true value. The distance to their upper end, applied to both sides, contained it in 89 to 98 of 100
    simulations, with 10 to 75 songs.
    """
    seeds = point["calibration_error"]
    value, ends = float(seeds.mean()), interval(replicates["calibration_error"].mean(axis=1))
    reach = ends[1] - value if ends else 0.0
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach), tuple(seeds.tolist()))


def _cost(pool: Pool) -> Cost:
    first = pool.trials[0]
    return Cost(
        parameters=first.parameters,
        trainable_parameters=first.trainable_parameters,
        tflite_bytes=first.tflite_bytes,
        tflite_note=first.tflite_note,
        train_seconds=float(np.mean([trial.train_seconds for trial in pool.trials])),
        inference_ms=first.inference_ms,
    )

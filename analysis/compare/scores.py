"""Scores of models, differences from the reference model, and the effect of leaky splits, with 95 % intervals.

A score is the mean over seeds, each with its folds joined. Its interval is the bootstrap over songs: fragments of one
song resemble each other, so whole songs are resampled. All models use the same samples, which pairs them. All figures
are weighted sums over songs, where the weight of a song is how often it was sampled: the same matrix product returns
the figure itself (all weights 1) and all its bootstrap replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from tumbao.analysis.compare.trial import ModelCost, Pool, Trial, pools
from tumbao.components.evaluation.metrics import (
    SIGNIFICANCE,
    SMALLEST_PROBABILITY,
    Interval,
    bootstrap_interval,
    discordant,
    mcnemar,
    middle,
    song_weights,
)
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


def p_value(replicates: Floats, differing: int) -> float:
    """Return the two-sided p-value of a difference with these replicates [r], in (0, 1].

    If each of the `differing` songs were as likely to differ in either direction, all would have the same sign with
    probability 2 / 2 ** differing. The p-value is never below that.
    """
    against = min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    return min(1.0, max(2 * (against + 1) / (len(replicates) + 1), 2.0 ** (1 - differing)))


def holm(p_values: Floats) -> Floats:
    """Correct p-values [m] for multiple testing by Holm's method."""
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


@dataclass(frozen=True)
class Estimate(Interval):
    """Mean over `seeds` with its 95 % interval over songs, NaN where undefined."""

    seeds: tuple[float, ...]

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds; NaN for one seed."""
        return float(np.std(self.seeds, ddof=1)) if len(self.seeds) > 1 else math.nan


@dataclass(frozen=True)
class Cost(ModelCost):
    """What a model costs; `train_seconds` is the mean time of one training."""

    train_seconds: float


@dataclass(frozen=True)
class Score:
    """All scores of one model under one protocol; song accuracies are by the paper's two rules."""

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
    f1: tuple[Estimate, ...]  # by genre
    cost: Cost


@dataclass(frozen=True, eq=False)
class SongCounts:
    """Sums over the fragments of each of n songs, for each of s seeds, g genres and b bins of confidence."""

    fragments: Floats  # [n]
    confusion: Floats  # [s, n, g, g]: fragments by true and predicted genre
    loss: Floats  # [s, n]: cross-entropies in nats
    gaps: Floats  # [s, n, b]: confidence minus correctness; bins are equally filled
    by_sum: Floats  # [s, n]: 1 where the rule classifies the song correctly
    by_votes: Floats  # [s, n]

    @property
    def right(self) -> Floats:
        """Number of correctly classified fragments [s, n]."""
        return np.trace(self.confusion, axis1=2, axis2=3)


def song_counts(pool: Pool) -> SongCounts:
    """Count the predictions of each song."""
    seeds, fragments, genres = pool.probabilities.shape
    songs, starts = len(pool.songs), np.cumsum(pool.counts) - pool.counts
    song, labels = np.repeat(np.arange(songs), pool.counts), np.repeat(pool.labels, pool.counts)
    predicted, probabilities = pool.probabilities.argmax(axis=2), pool.probabilities.astype(np.float64)
    confusion = np.zeros((seeds, songs, genres, genres))
    np.add.at(confusion, (np.arange(seeds)[:, np.newaxis], song, labels, predicted), 1)
    loss = -np.log(np.clip(probabilities[:, np.arange(fragments), labels], SMALLEST_PROBABILITY, 1.0))
    confidence = probabilities.max(axis=2)
    gaps = np.zeros((seeds, songs, min(MAX_BINS, max(1, songs // BIN_SONGS))))
    for of_seed, sure, gap in zip(gaps, confidence, confidence - (predicted == labels), strict=True):
        for index, part in enumerate(np.array_split(np.argsort(sure, kind="stable"), gaps.shape[2])):
            np.add.at(of_seed[:, index], song[part], gap[part])
    of_songs = [np.split(of_seed, starts[1:]) for of_seed in pool.probabilities]
    sums, votes = (
        (np.array([[rule(one) for one in of_seed] for of_seed in of_songs]) == pool.labels).astype(np.float64)
        for rule in (by_sum, by_votes)
    )
    return SongCounts(
        pool.counts.astype(np.float64), confusion, np.add.reduceat(loss, starts, axis=1), gaps, sums, votes
    )


def accuracies(counts: SongCounts, weights: Floats) -> Floats:
    """Return the fragment accuracy of each seed [r, s] for song weights [r, n]."""
    return weights @ counts.right.T / (weights @ counts.fragments)[:, np.newaxis]


def figures(counts: SongCounts, weights: Floats) -> dict[str, Floats]:
    """Return the `MEASURES` [r, s], and "f1" [r, s, genres], for song weights [r, n].

    F1 is NaN where no song of the genre was sampled; the balanced accuracy is that of the sampled genres.
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
    """Compute all scores of one model for song weights [r, n]."""
    songs, first = len(pool.songs), pool.trials[0]
    point = {name: values[0] for name, values in figures(counts, np.ones((1, songs))).items()}
    replicates = figures(counts, weights)

    def share(name: str) -> Estimate:
        value = float(point[name].mean())
        return _estimate(point[name], replicates[name], songs, few=songs * min(value, 1.0 - value) < ENOUGH)

    f1 = []
    for genre, seeds in enumerate(point["f1"].T):
        own = int((pool.labels == genre).sum())
        nothing = Estimate(math.nan, math.nan, math.nan, tuple(seeds.tolist()))
        f1.append(_estimate(seeds, replicates["f1"][:, :, genre], own, few=own < ENOUGH) if own else nothing)
    return Score(
        model=first.model,
        protocol=first.protocol,
        songs=songs,
        fragments=int(pool.counts.sum()),
        folds=len({trial.fold for trial in pool.trials}),
        **{name: share(name) for name in SHARES},
        cross_entropy=_estimate(point["cross_entropy"], replicates["cross_entropy"]),
        calibration_error=_calibration_error(point["calibration_error"], replicates["calibration_error"]),
        f1=tuple(f1),
        cost=Cost(
            **{field.name: getattr(first, field.name) for field in fields(ModelCost)},
            train_seconds=float(np.mean([trial.train_seconds for trial in pool.trials])),
        ),
    )


def _estimate(seeds: Floats, replicates: Floats, songs: int = 0, *, few: bool = False) -> Estimate:
    """Estimate a figure from its values by seed [s] and replicates [r, s], see `bootstrap_interval`."""
    one = bootstrap_interval(float(seeds.mean()), replicates.mean(axis=1), songs, few=few)
    return Estimate(one.value, one.low, one.high, tuple(seeds.tolist()))


def _calibration_error(seeds: Floats, replicates: Floats) -> Estimate:
    """Estimate the calibration error, with the distance to the upper end of the replicates on both sides.

    It is a sum of absolute differences, so noise increases it: the estimate exceeds the true value, and the replicates
    exceed the estimate. The middle 95 % of the replicates would be biased twice: for a well calibrated model they never
    contained the true value. This interval contained it in 89 to 98 of 100 simulations, with 10 to 75 songs.
    """
    one = _estimate(seeds, replicates)
    return replace(one, low=max(0.0, 2 * one.value - one.high), high=min(1.0, one.high))


@dataclass(frozen=True)
class Difference(Interval):
    """Fragment accuracy of a model minus that of the reference, with the interval of the paired bootstrap over songs.

    `corrected` and `song_corrected` are the p-values after Holm's correction for the number of models. `only_model` and
    `only_reference` count the songs that only one of the two classifies correctly, by the sum rule with more than half
    of the seeds; `song_p_value` is that of McNemar's exact test on them.
    """

    model: str
    reference: str
    p_value: float
    corrected: float
    only_model: int
    only_reference: int
    song_p_value: float
    song_corrected: float

    @property
    def significant(self) -> bool:
        """Whether the difference in fragment accuracy is significant after correction."""
        return self.corrected < SIGNIFICANCE

    @property
    def verdict(self) -> str:
        """Result for fragments: ``better``, ``worse`` or ``no clear difference``."""
        if not self.significant:
            return "no clear difference"
        return "better" if self.value > 0 else "worse"


@dataclass(frozen=True)
class Leak(Interval):
    """Accuracy under `protocol`, which keeps songs or artists together, minus that under the split by fragment."""

    model: str
    protocol: str
    apart: Estimate
    fragment: Estimate


@dataclass(frozen=True)
class Board:
    """All models under one split protocol, sorted by accuracy; differences from the reference are by model."""

    protocol: str
    leaky: bool  # fragments of one song can be on both sides of the split
    seeds: tuple[int, ...]
    scores: tuple[Score, ...]
    differences: Mapping[str, Difference]


@dataclass(frozen=True)
class Findings:
    """Results of a comparison; the first board ranks the models, and `leaks` compare it with the split by fragment."""

    genres: tuple[str, ...]
    reference: str
    synthetic: bool
    boards: tuple[Board, ...]
    leaks: tuple[Leak, ...]


def find(trials: Sequence[Trial], reference: str) -> Findings:
    """Score models and compare them with the reference; the result does not depend on the order of the trials."""
    boards, tested = [], {}
    for protocol, models in sorted(pools(trials).items(), key=lambda one: (is_leaky(one[0]), one[0] != "song", one[0])):
        weights = song_weights(np.zeros(len(next(iter(models.values())).songs), np.int64))
        counts = {model: song_counts(pool) for model, pool in models.items()}
        scores = {model: score(pool, counts[model], weights) for model, pool in models.items()}
        ranked = sorted(scores.values(), key=lambda one: -one.accuracy.value)
        against = differences(counts, scores, reference, weights) if reference in models else {}
        seeds = sorted({trial.seed for pool in models.values() for trial in pool.trials})
        boards.append(Board(protocol, is_leaky(protocol), tuple(seeds), tuple(ranked), against))
        tested[protocol] = {model: (pool, counts[model], scores[model].accuracy) for model, pool in models.items()}
    first, by_fragment = boards[0], tested.get("fragment", {})
    apart = {} if first.leaky else tested[first.protocol]
    return Findings(
        genres=trials[0].genres,
        reference=reference,
        synthetic=any(trial.synthetic for trial in trials),
        boards=tuple(boards),
        leaks=tuple(
            leak(one.model, first.protocol, apart[one.model], by_fragment[one.model])
            for one in first.scores
            if one.model in apart and one.model in by_fragment
        ),
    )


def differences(
    counts: Mapping[str, SongCounts], scores: Mapping[str, Score], reference: str, weights: Floats
) -> Mapping[str, Difference]:
    """Compare each other model with the reference, on the same songs with the same weights [r, n]."""
    ours, found = counts[reference], {}
    for model, theirs in counts.items():
        if model == reference:
            continue
        replicates = accuracies(theirs, weights).mean(axis=1) - accuracies(ours, weights).mean(axis=1)
        differing = int((~np.isclose(theirs.right.mean(axis=0), ours.right.mean(axis=0))).sum())
        only = discordant(*(one.by_sum.mean(axis=0) > 0.5 for one in (theirs, ours)))
        p, song_p = p_value(replicates, differing), mcnemar(*only)
        ends = _difference(scores[model].accuracy, scores[reference].accuracy, replicates)
        found[model] = Difference(*ends, model, reference, p, p, *only, song_p, song_p)
    corrected = holm(np.array([one.p_value for one in found.values()]))
    song_corrected = holm(np.array([one.song_p_value for one in found.values()]))
    return {
        model: replace(one, corrected=float(corrected[index]), song_corrected=float(song_corrected[index]))
        for index, (model, one) in enumerate(found.items())
    }


def leak(
    model: str, protocol: str, apart: tuple[Pool, SongCounts, Estimate], fragment: tuple[Pool, SongCounts, Estimate]
) -> Leak:
    """Compare a model's accuracy under two splits; songs that were tested under both are sampled together."""
    songs = np.union1d(apart[0].songs, fragment[0].songs)
    tested = [np.isin(songs, pool.songs) for pool, _, _ in (apart, fragment)]
    weights = song_weights(tested[0] + 2 * tested[1])  # grouped, so each test split keeps its size
    first, second = (
        accuracies(counts, weights[:, own]).mean(axis=1)
        for (_, counts, _), own in zip((apart, fragment), tested, strict=True)
    )
    ends = _difference(apart[2], fragment[2], first - second)
    return Leak(*ends, model, protocol, apart[2], fragment[2])


def _difference(first: Estimate, second: Estimate, replicates: Floats) -> tuple[float, float, float]:
    """Return value and interval; without spread in the replicates, combine both intervals by Newcombe's method."""
    value = first.value - second.value
    low, high = middle(replicates) or (
        value - math.hypot(first.value - first.low, second.high - second.value),
        value + math.hypot(first.high - first.value, second.value - second.low),
    )
    return value, low, high

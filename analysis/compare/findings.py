"""Results of a comparison: scores, differences from the reference model, and the effect of leaky splits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tumbao.analysis.compare.scores import (
    Estimate,
    Floats,
    Score,
    SongCounts,
    accuracies,
    holm,
    interval,
    p_value,
    score,
    song_counts,
    song_weights,
)
from tumbao.analysis.compare.trial import Pool, Trial, pools
from tumbao.components.evaluation.metrics import SIGNIFICANCE, mcnemar
from tumbao.components.ingest.splits import SPLIT_BY, is_leaky


@dataclass(frozen=True)
class Difference:
    """Accuracy of a model minus that of the reference, on the same songs.

    `value`, `low` and `high` are the difference in fragment accuracy and its 95 % interval (paired bootstrap over
    songs). `p_value` is its p-value, `corrected` the same after Holm's correction for the number of models tested.
    `only_model` and `only_reference` count the songs that only one of the two classifies correctly, by the sum rule
    with more than half of the seeds; `song_p_value` and `song_corrected` are the p-values of McNemar's exact test on
    them.
    """

    model: str
    reference: str
    value: float
    low: float
    high: float
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
class Leak:
    """Fragment accuracy that a model loses if no song is on both sides of the split.

    `apart` is the accuracy under `protocol`, which keeps songs or artists together; `fragment` is the accuracy under
    the paper's split by fragment. `value` is the first minus the second, with its 95 % bootstrap interval over songs.
    """

    model: str
    protocol: str
    apart: Estimate
    fragment: Estimate
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Board:
    """All models under one split protocol, sorted by accuracy; differences from the reference are by model."""

    protocol: str
    seeds: tuple[int, ...]
    scores: tuple[Score, ...]
    differences: Mapping[str, Difference]

    @property
    def leaky(self) -> bool:
        """Whether fragments of one song can be on both sides of the split."""
        return is_leaky(self.protocol)


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
    pooled = pools(sorted(trials, key=lambda trial: trial.model))
    boards, tested = [], {}
    for protocol in [protocol for protocol in SPLIT_BY if protocol in pooled]:
        models = pooled[protocol]
        weights = song_weights(np.zeros(len(next(iter(models.values())).songs), np.int64))
        counts = {model: song_counts(pool) for model, pool in models.items()}
        scores = {model: score(pool, counts[model], weights) for model, pool in models.items()}
        ranked = sorted(scores.values(), key=lambda one: -one.accuracy.value)
        against = differences(counts, scores, reference, weights) if reference in models else {}
        seeds = sorted({seed for pool in models.values() for seed in pool.seeds})
        boards.append(Board(protocol, tuple(seeds), tuple(ranked), against))
        tested[protocol] = {model: (pool, counts[model], scores[model]) for model, pool in models.items()}
    first, by_fragment = tested[boards[0].protocol], tested.get("fragment", {})
    ranked_models = [] if boards[0].leaky else [one.model for one in boards[0].scores]
    return Findings(
        genres=trials[0].genres,
        reference=reference,
        synthetic=any(trial.synthetic for trial in trials),
        boards=tuple(boards),
        leaks=tuple(leak(first[model], by_fragment[model]) for model in ranked_models if model in by_fragment),
    )


def differences(
    counts: Mapping[str, SongCounts], scores: Mapping[str, Score], reference: str, weights: Floats
) -> Mapping[str, Difference]:
    """Compare each model with the reference; the result is by model, without the reference.

    All counts are of the same songs. `weights` [r, n] holds how often each song was sampled, the same for all
    models, which pairs them.
    """
    ours, found = counts[reference], {}
    for model, theirs in counts.items():
        if model == reference:
            continue
        replicates = accuracies(theirs, weights).mean(axis=1) - accuracies(ours, weights).mean(axis=1)
        differing = int((~np.isclose(theirs.right.mean(axis=0), ours.right.mean(axis=0))).sum())
        correct, reference_correct = (one.by_sum.mean(axis=0) > 0.5 for one in (theirs, ours))
        only = int((correct & ~reference_correct).sum()), int((reference_correct & ~correct).sum())
        p, song_p = p_value(replicates, differing), mcnemar(*only)
        ends = _difference(scores[model].accuracy, scores[reference].accuracy, replicates)
        found[model] = Difference(model, reference, *ends, p, p, *only, song_p, song_p)
    corrected = holm(np.array([one.p_value for one in found.values()]))
    song_corrected = holm(np.array([one.song_p_value for one in found.values()]))
    return {
        model: replace(one, corrected=float(corrected[index]), song_corrected=float(song_corrected[index]))
        for index, (model, one) in enumerate(found.items())
    }


def leak(apart: tuple[Pool, SongCounts, Score], fragment: tuple[Pool, SongCounts, Score]) -> Leak:
    """Compare a model's accuracy under a split that keeps songs together with the split by fragment.

    Songs that were tested under both splits are sampled together.
    """
    songs = np.union1d(apart[0].songs, fragment[0].songs)
    tested = [np.isin(songs, pool.songs) for pool, _, _ in (apart, fragment)]
    weights = song_weights(tested[0] + 2 * tested[1])  # grouped, so each test split keeps its size
    replicates = [
        accuracies(counts, weights[:, own]).mean(axis=1)
        for (_, counts, _), own in zip((apart, fragment), tested, strict=True)
    ]
    score, other = apart[2], fragment[2]
    ends = _difference(score.accuracy, other.accuracy, replicates[0] - replicates[1])
    return Leak(score.model, score.protocol, score.accuracy, other.accuracy, *ends)


def _difference(first: Estimate, second: Estimate, replicates: Floats) -> tuple[float, float, float]:
    """Return value and interval; without spread in the replicates, combine both intervals by Newcombe's method."""
    value = first.value - second.value
    low, high = interval(replicates) or (
        value - math.hypot(first.value - first.low, second.high - second.value),
        value + math.hypot(first.high - first.value, second.value - second.low),
    )
    return value, low, high

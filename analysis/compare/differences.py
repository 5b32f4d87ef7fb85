"""Differences between models and the reference, and between leaky and leak-free splits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tumbao.analysis.compare.bootstrap import draw, holm, interval, p_value
from tumbao.analysis.compare.counts import Floats, Tally, accuracies
from tumbao.analysis.compare.pooling import Pool
from tumbao.analysis.compare.scores import Estimate, Score
from tumbao.components.evaluation.intervals import mcnemar
from tumbao.components.evaluation.song_metrics import SIGNIFICANCE


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
    def means_something(self) -> bool:
        """Whether the difference in fragment accuracy is significant after correction."""
        return self.corrected < SIGNIFICANCE

    @property
    def word(self) -> str:
        """Result for fragments, in one to three words."""
        if not self.means_something:
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


def differences(
    tallies: Mapping[str, Tally], scores: Mapping[str, Score], reference: str, weights: Floats
) -> Mapping[str, Difference]:
    """Compare each model with the reference; the result is by model, without the reference.

    All tallies are of the same songs. `weights` [r, n] holds how often each song was drawn, the same for all models,
    which pairs them.
    """
    ours = tallies[reference]
    models = [model for model in tallies if model != reference]
    raw = {}
    for model in models:
        theirs = tallies[model]
        drawn = accuracies(theirs, weights).mean(axis=1) - accuracies(ours, weights).mean(axis=1)
        differing = int((~np.isclose(theirs.right.mean(axis=0), ours.right.mean(axis=0))).sum())
        right, right_reference = _songs_right(theirs), _songs_right(ours)
        only = int((right & ~right_reference).sum()), int((right_reference & ~right).sum())
        raw[model] = (drawn, p_value(drawn, differing), only, mcnemar(*only))
    corrected = holm(np.array([p for _, p, _, _ in raw.values()]))
    song_corrected = holm(np.array([p for _, _, _, p in raw.values()]))
    found = {}
    for i, (model, (drawn, p, only, song_p)) in enumerate(raw.items()):
        value, low, high = _difference(scores[model].accuracy, scores[reference].accuracy, drawn)
        tests = p, float(corrected[i]), *only, song_p, float(song_corrected[i])
        found[model] = Difference(model, reference, value, low, high, *tests)
    return found


def leak(apart: tuple[Pool, Tally, Score], fragment: tuple[Pool, Tally, Score]) -> Leak:
    """Compare a model's accuracy under a split that keeps songs together with the split by fragment.

    Songs that were tested under both protocols are drawn together.
    """
    songs = np.union1d(apart[0].songs, fragment[0].songs)
    tested = [np.isin(songs, pool.songs) for pool, _, _ in (apart, fragment)]
    weights = draw(tested[0] + 2 * tested[1])  # grouped, so each test split keeps its size
    drawn = [
        accuracies(sums, weights[:, own]).mean(axis=1)
        for (_, sums, _), own in zip((apart, fragment), tested, strict=True)
    ]
    score, other = apart[2], fragment[2]
    ends = _difference(score.accuracy, other.accuracy, drawn[0] - drawn[1])
    return Leak(score.model, score.protocol, score.accuracy, other.accuracy, *ends)


def _songs_right(sums: Tally) -> npt.NDArray[np.bool_]:
    return sums.by_sum.mean(axis=0) > 0.5


def _difference(first: Estimate, second: Estimate, drawn: Floats) -> tuple[float, float, float]:
    """Return value and interval; without spread in the draws, combine both intervals by Newcombe's method."""
    value = first.value - second.value
    low, high = interval(drawn) or (
        value - math.hypot(first.value - first.low, second.high - second.value),
        value + math.hypot(first.high - first.value, second.value - second.low),
    )
    return value, low, high

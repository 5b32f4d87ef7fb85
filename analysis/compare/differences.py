"""Whether models differ from the reference by more than chance, and how much the paper's split flatters each."""

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
    """A model against the reference on the same songs.

    Parameters
    ----------
    model, reference : str
        Which.
    value, low, high : float
        Accuracy of fragments less the reference's, with the 95 % interval of the paired bootstrap over songs.
    p_value, corrected : float
        How probable so large a difference is by chance; the same, corrected by Holm for as many models as were tested.
    only_model, only_reference : int
        Songs that only this one answers rightly: by the sum rule, with more than half of the seeds.
    song_p_value, song_corrected : float
        The same two for songs, by McNemar's exact test.
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
        """Whether chance makes such a difference of fragments rarely, however many models were tested."""
        return self.corrected < SIGNIFICANCE

    @property
    def word(self) -> str:
        """The outcome for fragments in a word or two."""
        if not self.means_something:
            return "no clear difference"
        return "better" if self.value > 0 else "worse"


@dataclass(frozen=True)
class Leak:
    """How much a model loses where no song stands on both sides of the split.

    Parameters
    ----------
    model, protocol : str
        The model, and the split that keeps songs or artists together.
    apart, fragment : Estimate
        Accuracy of fragments under that split, and under the paper's by fragment.
    value, low, high : float
        The first less the second, with the 95 % interval of the bootstrap over songs.
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
    """Compare each model with the reference.

    Parameters
    ----------
    tallies : Mapping of str to Tally
        By model, all of the same songs.
    scores : Mapping of str to Score
        By model.
    reference : str
        One of them.
    weights : numpy.ndarray of float64 [r, n]
        How often each song was drawn: equally for all models, which pairs them.

    Returns
    -------
    Mapping of str to Difference
        By model, without the reference.
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
    """Compare a model's accuracy under a split that keeps songs together with that under the split by fragment.

    Parameters
    ----------
    apart, fragment : tuple of Pool, Tally and Score
        The model under either protocol; songs that both tested are drawn together.

    Returns
    -------
    Leak
        What was found.
    """
    songs = np.union1d(apart[0].songs, fragment[0].songs)
    tested = [np.isin(songs, pool.songs) for pool, _, _ in (apart, fragment)]
    weights = draw(tested[0] + 2 * tested[1])  # so that each test split keeps its size
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
    """Give value and ends; where drawing finds no spread, both intervals are put together as Newcombe does."""
    value = first.value - second.value
    low, high = interval(drawn) or (
        value - math.hypot(first.value - first.low, second.high - second.value),
        value + math.hypot(first.high - first.value, second.value - second.low),
    )
    return value, low, high

"""Bootstrap over songs: resampling weights, intervals and p-values.

Fragments of one song resemble each other, so whole songs are resampled, each with all its fragments. All models use the
same samples, which pairs them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tumbao.components.evaluation.scores import RESAMPLES


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

"""Bootstrap over songs: draws, intervals and p-values.

Fragments of one song resemble each other, so whole songs are drawn, each with all its fragments. All models share the
same draws, which pairs them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tumbao.components.evaluation.scores import RESAMPLES


def draw(groups: npt.NDArray[np.integer], seed: int = 0) -> npt.NDArray[np.float64]:
    """Draw songs with replacement, as many from each group as it has.

    `groups` [n] holds the group of each song; the ordinary bootstrap has one group. Returns how often each song was
    drawn, float64 [RESAMPLES, n].
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, len(groups)))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=RESAMPLES)
    return drawn


def interval(replicates: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the middle 95 % of the draws, or None if they have no spread.

    `replicates` [r] holds a figure in each draw, NaN where it is undefined. No spread in the draws does not mean that
    the figure has none.
    """
    low, high = np.nanquantile(replicates, [0.025, 0.975])
    return None if math.isclose(np.nanmin(replicates), np.nanmax(replicates), abs_tol=1e-12) else (low, high)


def p_value(replicates: npt.NDArray[np.float64], differing: int) -> float:
    """Return the two-sided p-value of a difference, in (0, 1].

    `replicates` [r] holds the difference in each draw, `differing` the number of songs on which the two models differ.
    If each of these songs were as likely to differ in either direction, all would point the same way with
    probability 2 / 2 ** differing. The p-value is never below that, however clear the draws are.
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

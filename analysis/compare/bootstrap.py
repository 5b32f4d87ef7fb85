"""The bootstrap over songs: which songs are drawn how often, and what the spread of a figure over draws tells.

Fragments of one song resemble each other, so songs are drawn, each with all its fragments. A song is drawn equally
often for every model, which pairs the models.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tumbao.components.evaluation.scores import RESAMPLES


def draw(groups: npt.NDArray[np.integer], seed: int = 0) -> npt.NDArray[np.float64]:
    """Draw songs with replacement, as many from each group as it has.

    Parameters
    ----------
    groups : numpy.ndarray of int [n]
        The group of each song; the ordinary bootstrap has one.
    seed : int
        Seed of the draws.

    Returns
    -------
    numpy.ndarray of float64 [r, n]
        How often each song was drawn (columns) in each of `RESAMPLES` draws (rows).
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty((RESAMPLES, len(groups)))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=RESAMPLES)
    return drawn


def interval(replicates: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Take the middle 95 % of what was drawn.

    Parameters
    ----------
    replicates : numpy.ndarray of float64 [r]
        A figure in each draw; NaN where it was not defined.

    Returns
    -------
    tuple of float or None
        The ends; None where drawing finds no spread, which is no sign that there is none.
    """
    low, high = np.nanquantile(replicates, [0.025, 0.975])
    return None if math.isclose(np.nanmin(replicates), np.nanmax(replicates), abs_tol=1e-12) else (low, high)


def p_value(replicates: npt.NDArray[np.float64], differing: int) -> float:
    """Tell how probable a difference at least this large is if there is none, two-sided.

    Parameters
    ----------
    replicates : numpy.ndarray of float64 [r]
        The difference in each draw.
    differing : int
        Songs on which the two differ. Were each as likely to differ the other way, all would point one way with
        probability 2 / 2 ** differing: however clear the draws are, the p-value is not below it.

    Returns
    -------
    float
        In (0, 1].
    """
    against = min(int((replicates <= 0).sum()), int((replicates >= 0).sum()))
    return min(1.0, max(2 * (against + 1) / (len(replicates) + 1), 2.0 ** (1 - differing)))


def holm(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Correct p-values for being many (Holm): of 20 true null hypotheses, chance makes one below 0.05 on average.

    Parameters
    ----------
    p_values : numpy.ndarray of float64 [m]
        The p-values.

    Returns
    -------
    numpy.ndarray of float64 [m]
        The corrected ones, in the same order, at most 1.

    Examples
    --------
    >>> holm(np.array([0.04, 0.01, 0.03]))
    array([0.06, 0.03, 0.06])
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected

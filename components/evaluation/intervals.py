"""Confidence interval of a share, and a test of two classifiers on the same songs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import binomtest

Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval.

    Parameters
    ----------
    value, low, high : float
        The share and the ends of the interval, in 0–1.
    """

    value: float
    low: float
    high: float


def wilson_interval(successes: float, trials: int) -> Interval:
    """Compute Wilson's 95 % interval of a share, which is accurate for few trials and near 0 and 1 too.

    Parameters
    ----------
    successes : float
        Number of successes, 0 to `trials`.
    trials : int
        Number of trials, at least 1.

    Returns
    -------
    Interval
        The share and its interval.
    """
    # not scipy: the mean accuracy of songs makes `successes` a fraction, which binomtest rejects
    share, spread = successes / trials, Z_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the two-sided p-value of McNemar's exact test of two classifiers on the same songs.

    Parameters
    ----------
    only_first : int
        Songs that only the first classifier answers correctly.
    only_second : int
        Songs that only the second classifier answers correctly.

    Returns
    -------
    float
        Probability of a difference at least this large if both are equally good, in (0, 1].

    Examples
    --------
    >>> mcnemar(5, 0), mcnemar(6, 0)
    (0.0625, 0.03125)
    """
    both = only_first + only_second
    return float(binomtest(only_first, both).pvalue) if both else 1.0

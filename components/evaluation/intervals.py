"""Confidence interval of a share, and a test of two classifiers on the same songs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import binomtest

Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


@dataclass(frozen=True)
class Interval:
    """A share with the ends of its 95 % interval, in 0–1."""

    value: float
    low: float
    high: float


def wilson_interval(successes: float, trials: int) -> Interval:
    """Compute Wilson's 95 % interval of a share, which is accurate for few trials and near 0 and 1 too."""
    # not scipy: the mean accuracy of songs makes `successes` a fraction, which binomtest rejects
    share, spread = successes / trials, Z_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the two-sided p-value of McNemar's exact test of two classifiers on the same songs.

    The arguments are the numbers of songs that only one of the classifiers predicts correctly.

    Examples
    --------
    >>> round(mcnemar(5, 0), 5), round(mcnemar(6, 0), 5)
    (0.0625, 0.03125)
    """
    both = only_first + only_second
    return float(binomtest(only_first, both).pvalue) if both else 1.0

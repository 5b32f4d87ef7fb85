"""Out-of-distribution check: compare the mel image of a fragment with those of the training songs.

A softmax is confident of white noise too. Mel images of noise, tones and clicks differ from those of songs more
clearly, in five statistics of the image's brightness (the mean of red, green and blue, 0 to 255). The training songs
span a range of each; a fragment outside of a range is out of distribution. This is not a music detector: audio whose
statistics lie in the same ranges passes.

Only columns with sound are measured. A recording of ten seconds is compared with ten seconds of the training songs,
whatever its padding: the range of each statistic is found for several lengths.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tumbao.serving.resample_reference import fragment_in_distribution, image_statistics, sounded_columns

MARGIN = 0.5  # the range of the training songs is widened on each side by this share of its width

SOUNDED_LEVEL = 64
"""A column with a band above this level (of 255) has sound: 60 dB below the maximum, in an image of 80 dB."""

LENGTHS = (0.1, 0.15, 0.225, 0.34, 0.5, 0.75, 0.9)
"""Lengths for which ranges are found, as shares of a fragment: from the shortest accepted song to a whole fragment,
of which a tenth may be silent.
"""


@dataclasses.dataclass(frozen=True)
class DistanceRule:
    """A song is out of distribution if the mean of its fragments' output `distance` exceeds the threshold.

    `songs` is the number of songs that the threshold was found on.
    """

    threshold: float
    songs: int

    def accepts(self, distances: Sequence[float]) -> bool:
        """Check whether a song with these distances of its fragments is in distribution."""
        return sum(distances) <= self.threshold * len(distances)


@dataclasses.dataclass(frozen=True)
class StatisticRanges:
    """Bounds of the five statistics, used for fragments with at least `columns` columns with sound."""

    columns: int
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class DistributionRanges:
    """Ranges of the statistics that count as in distribution."""

    low: tuple[float, ...]  # for whole fragments, as `high`
    high: tuple[float, ...]
    fragments: int  # number of whole fragments that were measured
    sounded_brightness: float  # a column with a brighter pixel has sound
    by_length: tuple[StatisticRanges, ...]  # in ascending order of columns; the last one equals `low` and `high`

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DistributionRanges:
        """Create an instance from the JSON of `dataclasses.asdict`; unknown keys are ignored."""
        return cls(
            low=tuple(values["low"]),
            high=tuple(values["high"]),
            fragments=values["fragments"],
            sounded_brightness=values["sounded_brightness"],
            by_length=tuple(
                StatisticRanges(one["columns"], tuple(one["low"]), tuple(one["high"])) for one in values["by_length"]
            ),
        )

    def contains(self, image: np.ndarray) -> bool:
        """Check whether a fragment's RGB image, uint8 [height, width, 3], is in distribution."""
        return fragment_in_distribution(image, dataclasses.asdict(self))


def fit_ranges(fragments: Iterable[np.ndarray], colours: np.ndarray, least: int = 1) -> DistributionRanges | None:
    """Find the ranges of the training songs, widened by `MARGIN`; None if no length has enough fragments.

    `fragments` are levels uint8 [height, width], as indexes into the palette `colours`, uint8 [256, 3]. The first
    columns of a fragment simulate a shorter recording. In such a recording the loudest band would have the highest
    level, so the levels are raised accordingly. No range is found for a length with fewer than `least` fragments.
    """
    brightness = colours.astype(np.float32).mean(axis=1)
    # between two levels, so that rounding in a port does not matter
    sounded = float(brightness[SOUNDED_LEVEL : SOUNDED_LEVEL + 2].mean())
    found: dict[int, list[np.ndarray]] = {}
    for levels in fragments:
        columns = np.flatnonzero(sounded_columns(brightness[levels], sounded))
        for length in {round(share * levels.shape[1]) for share in LENGTHS}:
            if length <= len(columns):
                chosen = columns if length == round(LENGTHS[-1] * levels.shape[1]) else columns[:length]
                part = levels[:, chosen[0] : chosen[-1] + 1]
                raised = np.minimum(np.arange(256) + int(levels.max()) - int(part.max()), 255)
                raised[0] = 0  # level 0 is clipped
                mask = np.isin(np.arange(chosen[0], chosen[-1] + 1), chosen)
                found.setdefault(length, []).append(image_statistics(brightness[raised[part]], mask))
    ranges = []
    for length, statistics in sorted(found.items()):
        if len(statistics) >= least:
            low, high = np.min(statistics, axis=0), np.max(statistics, axis=0)
            margin = MARGIN * (high - low)
            ranges.append(StatisticRanges(length, tuple((low - margin).tolist()), tuple((high + margin).tolist())))
    if not ranges:
        return None
    last = ranges[-1]
    return DistributionRanges(last.low, last.high, len(found[last.columns]), sounded, tuple(ranges))


def is_in_distribution(fragments: Sequence[bool]) -> bool:
    """Check whether at least half of a song's fragments are in distribution."""
    return 2 * sum(fragments) >= len(fragments)

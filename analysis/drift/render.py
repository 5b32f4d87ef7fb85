"""The drift page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tumbao.analysis.drift.comparison import DEALS, FALSE_ALARMS, SMALLEST_JSD, SMALLEST_SHARE, Comparison, Measure
from tumbao.analysis.drift.descriptors import DESCRIPTORS
from tumbao.analysis.drift.examples import Examples
from tumbao.analysis.drift.new_songs import NewSongs
from tumbao.analysis.drift.song_descriptors import SongDescriptors
from tumbao.analysis.drift.training import TrainingData
from tumbao.serving.page import data_uri, template, write_page

BARS = 20
"""Number of bars of a histogram."""

FEW_SONGS = 10
"""With fewer new songs, the page says that only strong drift can be told from chance."""

_WIDTH, _HEIGHT = 320.0, 90.0


@dataclasses.dataclass(frozen=True)
class Sides:
    """Both sides of a comparison; `recalled` are those of the `training_songs` songs that were compared."""

    training: TrainingData
    recalled: tuple[SongDescriptors, ...]
    training_songs: int
    new: NewSongs


@dataclasses.dataclass(frozen=True)
class Histogram:
    """Two histograms on one scale, as polygon points in a box of 320 by 90.

    Values beyond `low` and `high`, the ends of the scale, count in the outermost bars.
    """

    low: float
    high: float
    training: str
    new: str


def write_drift(sides: Sides, comparison: Comparison, examples: Sequence[Examples], page: Path) -> None:
    """Write the page, which needs no other file."""
    columns = {descriptor.name: column for column, descriptor in enumerate(DESCRIPTORS)}
    histograms = {
        name: histogram(*(np.concatenate([song.values[:, column] for song in side]) for side in _both(sides)))
        for name, column in columns.items()
    }
    seconds = (np.array([song.seconds for song in side]) for side in _both(sides))
    histograms["seconds"] = histogram(*seconds)
    text = template(Path(__file__).parent).render(
        sides=sides,
        comparison=comparison,
        histograms=histograms,
        examples=examples,
        fragments=[sum(len(song.starts) for song in side) for side in _both(sides)],
        few_songs=FEW_SONGS,
        deals=DEALS,
        false_alarms=FALSE_ALARMS,
        smallest_jsd=SMALLEST_JSD,
        smallest_share=SMALLEST_SHARE,
        synthetic=sides.training.synthetic or sides.new.synthetic,
        figure=figure,
        value_of=value_of,
        data_uri=data_uri,
    )
    write_page(page, text)


def _both(sides: Sides) -> tuple[tuple[SongDescriptors, ...], tuple[SongDescriptors, ...]]:
    return sides.recalled, sides.new.heard


def histogram(training: np.ndarray, new: np.ndarray) -> Histogram:
    """Return the histograms of two sets of values, at least one value each.

    The scale covers 99 % of both; the highest bar is as high as the box.
    """
    ends = np.array([np.quantile(side, [0.005, 0.995]) for side in (training, new)])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BARS + 1)
    shares = [np.histogram(np.clip(side, low, high), edges)[0] / len(side) for side in (training, new)]
    tallest = max(own.max() for own in shares)
    return Histogram(low, high, *(_outline(own / tallest) for own in shares))


def _outline(heights: np.ndarray) -> str:
    x = np.repeat(np.arange(BARS + 1) * _WIDTH / BARS, 2)
    y = _HEIGHT * (1.0 - np.concatenate([[0.0], np.repeat(heights, 2), [0.0]]))
    return " ".join(f"{left:.1f},{top:.1f}" for left, top in zip(x, y, strict=True))


def figure(value: float) -> str:
    """Format a value with about three digits, such as ``1120``, ``−13.1`` or ``0.583``."""
    places = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{places}f}".replace("-", "−")


def value_of(measure: Measure, value: float) -> str:
    """Format a median or a share of a measure, such as ``1120 Hz`` or ``salsa 21 %``."""
    if measure.category:
        share = f"{100 * value:.0f}\N{NO-BREAK SPACE}%"
        return share if measure.category == measure.descriptor.name else f"{measure.category} {share}"
    return f"{figure(value)}\N{NO-BREAK SPACE}{measure.descriptor.unit}".rstrip("\N{NO-BREAK SPACE}")

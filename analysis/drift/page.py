"""Drift detection from a run's training data and new songs to the page and the files beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tumbao.analysis.drift.comparison import (
    FALSE_ALARMS,
    N_PERMUTATIONS,
    SMALLEST_JSD,
    SMALLEST_SHARE,
    Comparison,
    Measure,
    compare,
)
from tumbao.analysis.drift.descriptors import (
    DESCRIPTORS,
    NewSongs,
    SongDescriptors,
    TrainingData,
    measure_new_songs,
    measure_training,
)
from tumbao.analysis.songs import write_statistics
from tumbao.components.ingest.paths import AnyPath
from tumbao.serving.formatting import clock
from tumbao.serving.page import template, write_page

PAGE, FIGURES, TRAINING_STATISTICS, NEW_STATISTICS = "index.html", "drift.json", "training.pbtxt", "new.pbtxt"

SHOWN_DESCRIPTORS, FARTHEST = 2, 6  # number of descriptors, and of new fragments for each
BARS, _WIDTH, _HEIGHT = 20, 320.0, 90.0  # of a histogram
FEW_SONGS = 10  # with fewer new songs, only strong drift can be distinguished from chance


def run_drift(training: TrainingData, library: AnyPath, out: Path, layout: str) -> tuple[NewSongs, Comparison | None]:
    """Compare new songs with training data, and write `FIGURES` and, if any song could be measured, the other files.

    Without such a song there is no comparison.
    """
    new = measure_new_songs(library, layout, training.spec, training.genres)
    if not new.songs:
        _write_figures(out, training, new, {}, None)
        return new, None
    training_songs, count = measure_training(training)
    comparison = compare(training_songs, new.songs, training.genres)
    fragments = [sum(len(song.starts) for song in side) for side in (training_songs, new.songs)]
    counts = {"songs": count, "songs_compared": len(training_songs), "fragments": fragments[0]}
    write_statistics(comparison.training_statistics, out / TRAINING_STATISTICS)
    write_statistics(comparison.new_statistics, out / NEW_STATISTICS)
    _write_figures(out, training, new, counts, comparison)
    page = template(Path(__file__).parent).render(
        training=training,
        counts=counts,
        new=new,
        new_fragments=fragments[1],
        comparison=comparison,
        histograms=_histograms(training_songs, new.songs),
        examples=list(_examples(comparison.drifted, training_songs, new.songs)),
        few_songs=FEW_SONGS,
        permutations=N_PERMUTATIONS,
        false_alarms=FALSE_ALARMS,
        smallest_jsd=SMALLEST_JSD,
        smallest_share=SMALLEST_SHARE,
        synthetic=training.synthetic or new.synthetic,
        figure=figure,
        value_of=value_of,
        clock=clock,
    )
    write_page(out / PAGE, page)
    return new, comparison


def _write_figures(
    out: Path, training: TrainingData, new: NewSongs, counts: dict[str, int], comparison: Comparison | None
) -> None:
    names = [descriptor.name for descriptor in DESCRIPTORS]
    measures = []
    for one in comparison.measures if comparison else ():
        about: dict[str, Any] = {"name": one.descriptor.name, "unit": one.descriptor.unit, "category": one.category}
        about |= {"training": one.training, "new": one.new, "distance": one.distance, "threshold": one.threshold}
        measures.append(about | {"drift": one.drifted})
    songs: list[dict[str, Any]] = []
    for song in new.songs:
        means = dict(zip(names, song.values.mean(axis=0).tolist(), strict=True))
        songs.append({"song": song.song, "path": song.path, "fragments": len(song.starts), "means": means})
    rejected = [
        {"song": one.song, "path": one.path, "reason": one.reason, "detail": one.detail} for one in new.rejected
    ]
    found = {"songs": len(songs), "fragments": sum(song["fragments"] for song in songs), "rejected": len(rejected)}
    figures: dict[str, Any] = {
        "drift": bool(comparison.drifted) if comparison else None,
        "training": {"run": training.run, "library": training.library, "synthetic": training.synthetic, **counts},
        "new": {"library": new.name, "synthetic": new.synthetic, **found},
        "measures": measures,
        "songs": songs,
        "rejected": rejected,
    }
    write_page(out / FIGURES, json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


class Example(NamedTuple):
    """A new fragment that is the farthest of its song from the training median of a measure that drifted."""

    measure: Measure
    song: str
    start_seconds: float
    value: float


def _examples(
    drifted: Sequence[Measure], training: Sequence[SongDescriptors], new: Sequence[SongDescriptors]
) -> Iterator[Example]:
    """Yield examples of the descriptors that drifted most, the farthest first."""
    for measure in [one for one in drifted if one.descriptor in DESCRIPTORS][:SHOWN_DESCRIPTORS]:
        column = DESCRIPTORS.index(measure.descriptor)
        median = np.median(np.concatenate([song.values[:, column] for song in training]))
        distances = [np.abs(song.values[:, column] - median) for song in new]
        for index in np.argsort([-own.max() for own in distances], kind="stable")[:FARTHEST]:
            song, fragment = new[index], distances[index].argmax()
            yield Example(measure, song.song, float(song.starts[fragment]), float(song.values[fragment, column]))


class Histogram(NamedTuple):
    """Two histograms as polygon points in a box, between the ends of their scale."""

    low: float
    high: float
    training: str
    new: str


def _histograms(training: Sequence[SongDescriptors], new: Sequence[SongDescriptors]) -> dict[str, Histogram]:
    fragments = [np.concatenate([song.values for song in side]) for side in (training, new)]
    seconds = [np.array([song.seconds for song in side]) for side in (training, new)]
    columns = {one.name: [side[:, column] for side in fragments] for column, one in enumerate(DESCRIPTORS)}
    return {name: histogram(*sides) for name, sides in {**columns, "seconds": seconds}.items()}


def histogram(training: np.ndarray, new: np.ndarray) -> Histogram:
    """Return the histograms of two sets of values on a scale that covers 99 % of both."""
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
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}".replace("-", "−")


def value_of(measure: Measure, value: float) -> str:
    """Format a median or a share of a measure, such as ``1120 Hz`` or ``salsa 21 %``."""
    if measure.category:
        share = f"{100 * value:.0f}\N{NO-BREAK SPACE}%"
        return share if measure.category == measure.descriptor.name else f"{measure.category} {share}"
    return f"{figure(value)}\N{NO-BREAK SPACE}{measure.descriptor.unit}".rstrip("\N{NO-BREAK SPACE}")

"""Drift detection from a run's training data and new songs to the page and the files beside it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
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
from tumbao.analysis.drift.descriptors import DESCRIPTORS, Descriptor, SongDescriptors
from tumbao.analysis.drift.songs import (
    NewSongs,
    TrainingData,
    measure_new_songs,
    measure_training,
    new_images,
    training_images,
)
from tumbao.analysis.tfdv_statistics import write_statistics
from tumbao.components.ingest.paths import AnyPath
from tumbao.serving.page import data_uri, template, write_page

PAGE, FIGURES, TRAINING_STATISTICS, NEW_STATISTICS = "index.html", "drift.json", "training.pbtxt", "new.pbtxt"

SHOWN_DESCRIPTORS, FARTHEST, USUAL = 2, 6, 3  # number of descriptors, and of new and training fragments for each
BARS, _WIDTH, _HEIGHT = 20, 320.0, 90.0  # of a histogram
FEW_SONGS = 10  # with fewer new songs, only strong drift can be distinguished from chance


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of a comparison; `comparison` is None if no new song could be measured."""

    new: NewSongs
    comparison: Comparison | None


def run_drift(training: TrainingData, library: AnyPath, out: Path, layout: str) -> Outcome:
    """Compare new songs with training data, and write `FIGURES` and, if any song could be measured, the other files."""
    new = measure_new_songs(library, layout, training.spec, training.genres)
    if not new.songs:
        _write_figures(out, training, new, {}, None)
        return Outcome(new, None)
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
        examples=choose_examples(comparison.drifted, training, training_songs, new.songs),
        few_songs=FEW_SONGS,
        permutations=N_PERMUTATIONS,
        false_alarms=FALSE_ALARMS,
        smallest_jsd=SMALLEST_JSD,
        smallest_share=SMALLEST_SHARE,
        synthetic=training.synthetic or new.synthetic,
        figure=figure,
        value_of=value_of,
        data_uri=data_uri,
    )
    write_page(out / PAGE, page)
    return Outcome(new, comparison)


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
    """A fragment: song, start in the file, value of the descriptor, and mel image as in a record."""

    song: str
    start_seconds: float
    value: float
    png: bytes


class Examples(NamedTuple):
    """New fragments that are farthest from the training median of a descriptor, and training fragments near it."""

    descriptor: Descriptor
    usual: list[Example]
    farthest: list[Example]


def choose_examples(
    drifted: Sequence[Measure],
    training: TrainingData,
    training_songs: Sequence[SongDescriptors],
    new: Sequence[SongDescriptors],
) -> list[Examples]:
    """Render examples for the descriptors that drifted most, at most one fragment of each song.

    A new song that has become unusable since it was measured is left out.
    """
    shown = [measure.descriptor for measure in drifted if measure.descriptor in DESCRIPTORS][:SHOWN_DESCRIPTORS]
    chosen = []
    for column in map(DESCRIPTORS.index, shown):
        median = float(np.median(np.concatenate([song.values[:, column] for song in training_songs])))
        usual = _nearest(training_songs, column, median)[:USUAL]
        chosen.append((column, usual, _nearest(new, column, median, sign=-1)[:FARTHEST]))
    images = training_images(
        training, {(song.song, float(song.starts[index])) for _, usual, _ in chosen for song, index in usual}
    )
    rendered = iter(new_images([one for _, _, farthest in chosen for one in farthest], training.spec))

    def example(song: SongDescriptors, index: int, column: int, png: bytes) -> Example:
        return Example(song.song, float(song.starts[index]), float(song.values[index, column]), png)

    return [
        Examples(
            DESCRIPTORS[column],
            [example(song, index, column, images[song.song, float(song.starts[index])]) for song, index in usual],
            [example(song, index, column, png) for song, index in farthest if (png := next(rendered))],
        )
        for column, usual, farthest in chosen
    ]


def _nearest(
    songs: Sequence[SongDescriptors], column: int, median: float, sign: int = 1
) -> list[tuple[SongDescriptors, int]]:
    """Return the fragment of each song that is nearest to the median, the nearest first; the farthest with sign -1."""
    away = [sign * np.abs(song.values[:, column] - median) for song in songs]
    order = np.argsort([own.min() for own in away], kind="stable")
    return [(songs[index], int(away[index].argmin())) for index in order]


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

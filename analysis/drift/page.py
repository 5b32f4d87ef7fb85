"""Drift detection from a run's training data and new songs to the page and the files beside it.

TFDV measures the distances between both and decides which are drift. Numbers are compared by the Jensen-Shannon
divergence of their quantile histograms (0: the same, 1: nothing in common), categories by the infinity norm of their
shares. TFDV's standard histograms are not used: one outlier stretches their buckets, and a constant has distance 1 from
itself with an outlier.

Thresholds come from a permutation test: all songs are shuffled and divided into two groups of the same sizes,
`N_PERMUTATIONS` times, with all fragments of a song in one group. A threshold is the mean of these distances plus k
standard deviations. k is the same for all measures: the 95th percentile, over permutations, of the largest standardised
distance of any measure. So 1 of 20 comparisons of like music reports drift. Differences below `SMALLEST_JSD` and
`SMALLEST_SHARE` are too small to matter, however certain they are.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from tensorflow_metadata.proto.v0 import schema_pb2

from tumbao.analysis.drift.descriptors import (
    DESCRIPTORS,
    Descriptor,
    NewSongs,
    SongDescriptors,
    TrainingData,
    measure_new_songs,
    measure_training,
)
from tumbao.analysis.songs import statistics_of, write_statistics
from tumbao.components.ingest import progress
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


SMALLEST_JSD = 0.04  # between large samples that differ by a third of a standard deviation
SMALLEST_SHARE = 0.10  # smallest change of a share of songs that matters
N_PERMUTATIONS = 99  # chance exceeds the 95th in ascending order in 5 of 100 cases
FALSE_ALARMS = 0.05

OF_SONGS: tuple[Descriptor, ...] = (
    Descriptor("seconds", "s", "length of a song"),
    Descriptor("padded", "", "share of songs that are shorter than a fragment"),
    Descriptor("truncated", "", "share of files that break off"),
    Descriptor("genre", "", "share of the genre whose share differs most"),
)
"""Measures of whole songs."""

_CATEGORIES = ("padded", "truncated", "genre")


@dataclasses.dataclass(frozen=True)
class Measure:
    """A measure of both sides and their distance."""

    descriptor: Descriptor
    category: str  # empty for numbers
    training: float  # median, or share of the category in 0–1
    new: float
    distance: float
    threshold: float
    drifted: bool  # by TFDV


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All measures, first those of fragments, then those of songs, and TFDV's statistics of both sides."""

    measures: tuple[Measure, ...]
    training_statistics: Any
    new_statistics: Any

    @property
    def by_distance(self) -> list[Measure]:
        """All measures, by distance over threshold, the highest first."""
        return sorted(self.measures, key=lambda measure: -measure.distance / measure.threshold)

    @property
    def drifted(self) -> list[Measure]:
        """Measures that drifted, in the order of `by_distance`."""
        return [measure for measure in self.by_distance if measure.drifted]


def compare(training: Sequence[SongDescriptors], new: Sequence[SongDescriptors], genres: Sequence[str]) -> Comparison:
    """Compare two sets of songs, and their genres too if each new song has one of the model's `genres`."""
    table = _table(training, new, genres)
    is_new = np.repeat([False, True], [sum(len(song.starts) for song in side) for side in (training, new)])
    names = [("training", song.song) for song in training] + [("new", song.song) for song in new]
    units = np.repeat(pd.factorize(pd.Series(names))[0], [len(song.starts) for song in (*training, *new)])
    sides = table[~is_new], table[is_new]
    statistics = statistics_of(sides[0]), statistics_of(sides[1])
    thresholds = _thresholds(_null_distances(table, units, len(np.unique(units[is_new]))), list(table))
    distances, drifted = _validate(*statistics, thresholds)
    measures = tuple(
        _measure(name, sides[0][name], sides[1][name], distances[name], thresholds[name], name in drifted)
        for name in table
    )
    return Comparison(measures, *statistics)


def _table(training: Sequence[SongDescriptors], new: Sequence[SongDescriptors], genres: Sequence[str]) -> pd.DataFrame:
    """Return a row for each fragment; measures of a song are in the row of its first."""
    songs = [*training, *new]
    table = pd.DataFrame(np.concatenate([song.values for song in songs]), columns=[one.name for one in DESCRIPTORS])
    of_songs: dict[str, list[Any]] = {
        "seconds": [song.seconds for song in songs],
        "padded": ["padded" if song.padded else "whole" for song in songs],
        "truncated": ["truncated" if song.truncated else "whole" for song in songs],
    }
    if all(song.genre in genres for song in new):
        of_songs["genre"] = [song.genre for song in songs]
    firsts = np.cumsum([0, *(len(song.starts) for song in songs[:-1])])
    for name, values in of_songs.items():
        column = np.full(len(table), None if name in _CATEGORIES else np.nan)
        column[firsts] = values
        table[name] = column
    return table


def _null_distances(table: pd.DataFrame, units: np.ndarray, count: int) -> np.ndarray:
    """Measure the distances between permuted groups of songs, `count` of them new: [permutation, measure].

    `units` is the number of each fragment's song.
    """
    rng = np.random.default_rng(0)
    songs, distances = np.unique(units), []
    progress.start("permute", N_PERMUTATIONS)
    for _ in range(N_PERMUTATIONS):
        permuted = np.isin(units, rng.permutation(songs)[:count])
        found, _ = _validate(statistics_of(table[~permuted]), statistics_of(table[permuted]), dict.fromkeys(table, 1.0))
        distances.append([found[name] for name in table])
        progress.advance("permute")
    return np.array(distances)


def _thresholds(null: np.ndarray, names: Iterable[str]) -> dict[str, float]:
    mean, deviation = null.mean(axis=0), null.std(axis=0)
    highest = ((null - mean) / np.where(deviation > 0, deviation, np.inf)).max(axis=1)
    z = np.sort(highest)[math.ceil((1 - FALSE_ALARMS) * (len(null) + 1)) - 1]
    return {
        name: max(SMALLEST_SHARE if name in _CATEGORIES else SMALLEST_JSD, float(by_null))
        for name, by_null in zip(names, mean + z * deviation, strict=True)
    }


def _validate(training: Any, new: Any, thresholds: Mapping[str, float]) -> tuple[dict[str, float], set[str]]:
    """Compare statistics with TFDV; return distances by name, and the names that it reports as drift."""
    import tensorflow_data_validation as tfdv

    schema = schema_pb2.Schema()
    for name, threshold in thresholds.items():
        if name in _CATEGORIES:
            feature = schema.feature.add(name=name, type=schema_pb2.BYTES)
            feature.drift_comparator.infinity_norm.threshold = threshold
        else:
            feature = schema.feature.add(name=name, type=schema_pb2.FLOAT)
            divergence = feature.drift_comparator.jensen_shannon_divergence
            divergence.threshold = threshold
            divergence.source.type = schema_pb2.HistogramSelection.QUANTILES
    anomalies = tfdv.validate_statistics(new, schema, previous_statistics=training)
    distances = {info.path.step[0]: info.drift_measurements[0].value for info in anomalies.drift_skew_info}
    return distances, set(anomalies.anomaly_info)


def _measure(
    name: str, training: pd.Series, new: pd.Series, distance: float, threshold: float, drifted: bool
) -> Measure:
    descriptor = next(one for one in (*DESCRIPTORS, *OF_SONGS) if one.name == name)
    if name not in _CATEGORIES:
        return Measure(descriptor, "", training.median(), new.median(), distance, threshold, drifted)
    before, after = (one.value_counts(normalize=True) for one in (training, new))
    # of two categories, the one that has the measure's name
    category = after.sub(before, fill_value=0.0).abs().idxmax() if name == "genre" else name
    return Measure(
        descriptor, category, before.get(category, 0.0), after.get(category, 0.0), distance, threshold, drifted
    )

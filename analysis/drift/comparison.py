"""Comparison of training data and new data: TFDV measures distances and decides which are drift.

Numbers are compared by the Jensen-Shannon divergence of their quantile histograms (0: the same, 1: nothing in common),
categories by the infinity norm of their shares. TFDV's standard histograms are not used: one outlier stretches their
buckets, and a constant has distance 1 from itself with an outlier.

Thresholds come from a permutation test: all songs are shuffled and divided into two groups of the same sizes,
`N_PERMUTATIONS` times, with all fragments of a song in one group. A threshold is the mean of these distances plus k
standard deviations. k is the same for all measures: the 95th percentile, over permutations, of the largest standardised
distance of any measure. So 1 of 20 comparisons of like music reports drift. Differences below `SMALLEST_JSD` and
`SMALLEST_SHARE` are too small to matter, however certain they are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from tensorflow_metadata.proto.v0 import schema_pb2

from tumbao.analysis.drift.descriptors import DESCRIPTORS, Descriptor, SongDescriptors
from tumbao.analysis.songs import statistics_of
from tumbao.components.ingest import progress

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

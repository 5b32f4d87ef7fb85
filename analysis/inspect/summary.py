"""Counts, hours and distributions of a library's usable songs."""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd  # type: ignore[import-untyped]

from tumbao.analysis.inspect.library import Inspection, MeasuredSong
from tumbao.components.ingest.tags import artist_key

BINS = 14
"""Maximum number of bars of a histogram."""

DURATION_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0)
"""Widths of a bar, in seconds."""

LOUDNESS_STEPS = (1.0, 2.0, 3.0, 5.0, 10.0)
"""Widths of a bar, in dB."""


def song_table(songs: Sequence[MeasuredSong]) -> pd.DataFrame:
    """Return a row for each song; None where a value is unknown."""
    rows = [
        {"genre": one.song.genre, "artist": one.song.artist or None}
        | {name: value for name, value in vars(one).items() if name not in ("song", "middle_seconds", "fingerprint")}
        for one in songs
    ]
    return pd.DataFrame(rows)


class Count(NamedTuple):
    """Number and total length of the songs that share a property."""

    name: str
    songs: int
    seconds: float


def count_by(table: pd.DataFrame, column: str) -> list[Count]:
    """Group songs by a column of `song_table`, the group with the most songs first, then by name."""
    counts = [Count(str(name), len(own), own.seconds.sum()) for name, own in table.groupby(column)]
    return sorted(counts, key=lambda one: (-one.songs, one.name))


class Artist(NamedTuple):
    """An artist by the most frequent spelling, with the number and total length of the usable songs."""

    name: str
    songs: int
    seconds: float
    genres: tuple[str, ...]


def artists(table: pd.DataFrame) -> list[Artist]:
    """Group songs by artist, as a split by artist does; songs without an artist are left out.

    The artist with the most songs is first, then by name.
    """
    known = table[table.artist.notna()]
    found = [
        Artist(own.artist.mode()[0], len(own), own.seconds.sum(), tuple(sorted(own.genre.unique())))
        for key, own in known.groupby(known.artist.map(artist_key))
        if key
    ]
    return sorted(found, key=lambda one: (-one.songs, one.name))


class Range(NamedTuple):
    """Lowest value, median and highest value."""

    low: float
    median: float
    high: float


@dataclasses.dataclass(frozen=True)
class Genre:
    """A genre of a library: its usable songs, the numbers of known artists and of unusable files."""

    name: str
    songs: tuple[MeasuredSong, ...]
    artists: int
    rejected: int

    @property
    def seconds(self) -> float:
        """Total length."""
        return sum(song.seconds for song in self.songs)

    def range_of(self, name: str) -> Range:
        """Return the range of an attribute of the songs, of which there is at least one."""
        values = [getattr(song, name) for song in self.songs]
        return Range(min(values), statistics.median(values), max(values))


def genres(inspection: Inspection) -> list[Genre]:
    """Describe each genre, in the inspection's order; genres without a usable song are included."""
    found = []
    for name in inspection.genres:
        songs = tuple(song for song in inspection.songs if song.song.genre == name)
        known = {artist_key(song.song.artist) for song in songs} - {""}
        found.append(Genre(name, songs, len(known), inspection.rejected_per_genre.get(name, 0)))
    return found


@dataclasses.dataclass(frozen=True)
class Bins:
    """Bars of equal width (`step`) from `low` on; with `beyond`, the last bar also counts higher values."""

    low: float
    step: float
    count: int
    beyond: bool

    @property
    def high(self) -> float:
        """End of the last bar, without the higher values that it counts."""
        return self.low + self.step * self.count

    def counts(self, values: Iterable[float]) -> list[int]:
        """Count the values in each bar; no value may be below `low`."""
        found = collections.Counter(min(int((value - self.low) // self.step), self.count - 1) for value in values)
        return [found[bar] for bar in range(self.count)]


def bins(values: Sequence[float], steps: Sequence[float]) -> Bins:
    """Choose bars that all genres share: the narrowest that show 19 of 20 values in at most `BINS` bars.

    `values` has at least one value; `steps` are widths to choose from, ascending.
    """
    ordered = sorted(values)
    usual = ordered[(len(ordered) - 1) * 19 // 20]
    for step in steps:
        low = ordered[0] // step * step
        if usual < low + BINS * step:
            break
    needed = int((ordered[-1] - low) // step) + 1
    return Bins(low, step, min(BINS, needed), needed > BINS)

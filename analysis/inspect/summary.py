"""Counts, hours and distributions of a library's usable songs."""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence

from tumbao.analysis.inspect.library import Inspection, MeasuredSong
from tumbao.components.ingest.tags import artist_key

BINS = 14
"""Maximum number of bars of a histogram."""

DURATION_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0)
"""Widths of a bar, in seconds."""

LOUDNESS_STEPS = (1.0, 2.0, 3.0, 5.0, 10.0)
"""Widths of a bar, in dB."""


@dataclasses.dataclass(frozen=True)
class Count:
    """Number and total length of the songs that share a property, whose value is `name`."""

    name: str
    songs: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Artist:
    """An artist and the number and total length of the usable songs.

    All spellings count; `name` is the most frequent one. `genres` are sorted.
    """

    name: str
    songs: int
    seconds: float
    genres: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Range:
    """Lowest value, median and highest value."""

    low: float
    median: float
    high: float


@dataclasses.dataclass(frozen=True)
class Genre:
    """A genre of a library.

    `songs` are usable, `seconds` is their total length and `share` their part of the library's usable time, 0–1.
    `artists` counts known artists, `rejected` unusable files. `durations` are in seconds, `rms` and `peaks` in dBFS;
    None without a song.
    """

    name: str
    songs: tuple[MeasuredSong, ...]
    seconds: float
    share: float
    artists: int
    rejected: int
    durations: Range | None
    rms: Range | None
    peaks: Range | None


@dataclasses.dataclass(frozen=True)
class Bins:
    """Bars of equal width (`step`) from `low` on.

    If `beyond` is set, the last bar also counts higher values.
    """

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


def count_by(songs: Iterable[MeasuredSong], key: Callable[[MeasuredSong], str]) -> list[Count]:
    """Group songs by a key, the group with the most songs first, then by name."""
    groups: dict[str, list[float]] = collections.defaultdict(list)
    for song in songs:
        groups[key(song)].append(song.seconds)
    counts = [Count(name, len(lengths), sum(lengths)) for name, lengths in groups.items()]
    return sorted(counts, key=lambda one: (-one.songs, one.name))


def artists(songs: Iterable[MeasuredSong]) -> list[Artist]:
    """Group songs by artist, as a split by artist does; songs without an artist are left out.

    The artist with the most songs is first, then by name.
    """
    groups: dict[str, list[MeasuredSong]] = collections.defaultdict(list)
    for song in songs:
        if key := artist_key(song.song.artist):
            groups[key].append(song)
    found = [
        Artist(
            name=collections.Counter(song.song.artist for song in own).most_common(1)[0][0],
            songs=len(own),
            seconds=sum(song.seconds for song in own),
            genres=tuple(sorted({song.song.genre for song in own})),
        )
        for own in groups.values()
    ]
    return sorted(found, key=lambda one: (-one.songs, one.name))


def genres(inspection: Inspection) -> list[Genre]:
    """Describe each genre, in the inspection's order; genres without a usable song are included."""
    per_genre: dict[str, list[MeasuredSong]] = {name: [] for name in inspection.genres}
    for song in inspection.songs:
        per_genre[song.song.genre].append(song)
    total = sum(song.seconds for song in inspection.songs)
    described = []
    for name, songs in per_genre.items():
        seconds = sum(song.seconds for song in songs)
        described.append(
            Genre(
                name=name,
                songs=tuple(songs),
                seconds=seconds,
                share=seconds / total if total else 0.0,
                artists=len(artists(songs)),
                rejected=inspection.rejected_per_genre.get(name, 0),
                durations=_range([song.seconds for song in songs]),
                rms=_range([song.rms_dbfs for song in songs]),
                peaks=_range([song.peak_dbfs for song in songs]),
            )
        )
    return described


def _range(values: Sequence[float]) -> Range | None:
    return Range(min(values), statistics.median(values), max(values)) if values else None


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

"""Counts, hours and distributions of a library's usable songs."""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence

from tumbao.analysis.inspect.data import Inspection
from tumbao.analysis.inspect.measure import Measured
from tumbao.components.ingest.tags import artist_key

BINS = 14
"""Bars of a histogram, at most."""

DURATION_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0)
"""Widths of a bar, in seconds."""

LOUDNESS_STEPS = (1.0, 2.0, 3.0, 5.0, 10.0)
"""Widths of a bar, in dB."""


@dataclasses.dataclass(frozen=True)
class Tally:
    """Songs that have something in common.

    Parameters
    ----------
    name : str
        What they have in common.
    songs : int
        How many they are.
    seconds : float
        How long they last, in seconds.
    """

    name: str
    songs: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Artist:
    """One artist, however spelt.

    Parameters
    ----------
    name : str
        The spelling that is met most.
    songs : int
        Usable songs.
    seconds : float
        How long they last, in seconds.
    genres : tuple of str
        The artist's genres, sorted.
    """

    name: str
    songs: int
    seconds: float
    genres: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Range:
    """The lowest, the middle and the highest of some values.

    Parameters
    ----------
    low, median, high : float
        In the values' unit.
    """

    low: float
    median: float
    high: float


@dataclasses.dataclass(frozen=True)
class Genre:
    """One genre of the library.

    Parameters
    ----------
    name : str
        Its name.
    songs : tuple of Measured
        Usable songs.
    seconds : float
        How long they last, in seconds.
    share : float
        Part of the library's usable time, 0–1.
    artists : int
        Known artists.
    rejected : int
        Files of the genre that cannot be used.
    durations, rms, peaks : Range or None
        In seconds and in dBFS; None without a song.
    """

    name: str
    songs: tuple[Measured, ...]
    seconds: float
    share: float
    artists: int
    rejected: int
    durations: Range | None
    rms: Range | None
    peaks: Range | None


@dataclasses.dataclass(frozen=True)
class Bins:
    """Bars of equal width; the last also takes what lies beyond it.

    Parameters
    ----------
    low : float
        Where the first begins.
    step : float
        Width of each.
    count : int
        How many they are.
    beyond : bool
        Whether the last holds more than its width.
    """

    low: float
    step: float
    count: int
    beyond: bool

    @property
    def high(self) -> float:
        """Where the last ends, but for what lies beyond."""
        return self.low + self.step * self.count

    def counts(self, values: Iterable[float]) -> list[int]:
        """Count values.

        Parameters
        ----------
        values : iterable of float
            None below `low`.

        Returns
        -------
        counts : list of int
            One for each bar; they add up to the number of values.
        """
        found = collections.Counter(min(int((value - self.low) // self.step), self.count - 1) for value in values)
        return [found[bar] for bar in range(self.count)]


def tally(songs: Iterable[Measured], key: Callable[[Measured], str]) -> list[Tally]:
    """Group songs.

    Parameters
    ----------
    songs : iterable of Measured
        The songs.
    key : callable
        Names what a song has in common with others.

    Returns
    -------
    groups : list of Tally
        The most songs first, then by name.
    """
    groups: dict[str, list[float]] = collections.defaultdict(list)
    for song in songs:
        groups[key(song)].append(song.seconds)
    tallies = [Tally(name, len(lengths), sum(lengths)) for name, lengths in groups.items()]
    return sorted(tallies, key=lambda one: (-one.songs, one.name))


def artists(songs: Iterable[Measured]) -> list[Artist]:
    """Group songs by artist, as a split by artist does.

    Parameters
    ----------
    songs : iterable of Measured
        The songs; those without an artist are left out.

    Returns
    -------
    artists : list of Artist
        The most songs first, then by name.
    """
    groups: dict[str, list[Measured]] = collections.defaultdict(list)
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
    """Describe each genre.

    Parameters
    ----------
    inspection : Inspection
        The library.

    Returns
    -------
    genres : list of Genre
        In the inspection's order, those without a usable song too.
    """
    per_genre: dict[str, list[Measured]] = {name: [] for name in inspection.genres}
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
    """Choose bars that all genres share.

    Parameters
    ----------
    values : sequence of float
        All values, at least one.
    steps : sequence of float
        Widths to choose from, ascending.

    Returns
    -------
    bins : Bins
        The narrowest that show 19 of 20 values in at most `BINS` bars.
    """
    ordered = sorted(values)
    usual = ordered[(len(ordered) - 1) * 19 // 20]
    for step in steps:
        low = ordered[0] // step * step
        if usual < low + BINS * step:
            break
    needed = int((ordered[-1] - low) // step) + 1
    return Bins(low, step, min(BINS, needed), needed > BINS)

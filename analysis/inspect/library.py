"""Contents of a library: measurements of the usable songs with their distributions, and rejected files."""

from __future__ import annotations

import collections
import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from tumbao.analysis.songs import measure_songs
from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.decoders import read_song
from tumbao.components.ingest.fingerprint import duplicate_detail, find_duplicates, fingerprint
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.fragments import Fragments
from tumbao.components.ingest.library import Rejected, Song, scan_files
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.tags import artist_key
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec

FAINTEST_DBFS = -100.0
"""Lowest level, also that of fainter sounds and silence."""

BINS = 14
"""Maximum number of bars of a histogram."""

DURATION_STEPS = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0)
"""Widths of a bar, in seconds."""

LOUDNESS_STEPS = (1.0, 2.0, 3.0, 5.0, 10.0)
"""Widths of a bar, in dB."""


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredSong:
    """Measurements of a usable song, or of a part of a song.

    `audio_format` is container and codec. `sample_rate_hz`, `channels` and `audio_tracks` are those of the file; one
    track is decoded, the one that players choose. `seconds` is the decoded length. `rms_dbfs` and `peak_dbfs` are of
    the mono fragments, in dB: 0 for a square wave at full scale, at least `FAINTEST_DBFS`. `middle_seconds` is the
    start of the middle fragment in the file. `truncated` says that the file breaks off and is used as far as it
    decodes, `padded` that the song is shorter than a fragment and silence is added. `fingerprint`, uint16 [n], see
    `fingerprint.fingerprint`.
    """

    song: Song
    audio_format: str
    sample_rate_hz: int
    channels: int
    audio_tracks: int
    seconds: float
    rms_dbfs: float
    peak_dbfs: float
    middle_seconds: float
    truncated: bool
    padded: bool
    fingerprint: np.ndarray = dataclasses.field(repr=False)


def measure(song: Song, spec: MelSpec, pool: WorkerPool) -> MeasuredSong:
    """Decode a song and measure it; raises AudioError if the decoded audio is unusable."""
    from tumbao.components.ingest import mel  # imports TensorFlow, which takes seconds: not for an empty library

    squares, peak, padded, fingerprints, levels = 0.0, 0.0, False, [], mel.traced_levels(spec)
    items = Fragments(read_song(pool, song.part, spec, song.sha256))
    for item in items:
        squares += float(np.square(item.samples, dtype=np.float64).sum())
        peak = max(peak, float(np.abs(item.samples).max()))
        padded = item.padded
        fingerprints.append(fingerprint(levels(item.samples), spec))
    ending = items.ending
    samples = min(ending.seconds * spec.sample_rate_hz, len(fingerprints) * spec.fragment_samples)
    return MeasuredSong(
        song=song,
        audio_format=ending.header.audio_format,
        sample_rate_hz=ending.header.sample_rate_hz,
        channels=ending.header.channels,
        audio_tracks=ending.header.audio_tracks,
        seconds=ending.seconds,
        rms_dbfs=_dbfs(math.sqrt(squares / samples)),
        peak_dbfs=_dbfs(peak),
        middle_seconds=song.start_seconds + max(0.0, ending.seconds - spec.fragment_seconds) / 2,
        truncated=ending.truncated,
        padded=padded,
        fingerprint=np.concatenate(fingerprints),
    )


def _dbfs(amplitude: float) -> float:
    return max(FAINTEST_DBFS, 20 * math.log10(amplitude)) if amplitude else FAINTEST_DBFS


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Contents of a library.

    `library` is the name of its folder or list; `synthetic` says that it declares its songs as composed, not recorded.
    `genres` are the requested ones. `songs` are usable, in the library's order; `rejected` are all others, sorted by
    identifier. `rejected_per_genre` counts rejected files by genre, including genres that were not requested; the empty
    name stands for no genre. For `notes`, see `listing.SongList`.
    """

    library: str
    synthetic: bool
    genres: tuple[str, ...]
    songs: tuple[MeasuredSong, ...]
    rejected: tuple[Rejected, ...]
    rejected_per_genre: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """Number of usable songs and rejected files."""
        return len(self.songs) + len(self.rejected)


def inspect_library(library: AnyPath, genres: Sequence[str], layout: str, spec: MelSpec) -> Inspection:
    """Scan a library as a run does, but decode every song, and accept genres without usable songs.

    `library` is a folder or a list of songs, `layout` one of `formats.LAYOUTS`. Songs of other genres than `genres` are
    rejected; none means all genres of the library. Every file that the library lists is in `songs` or in `rejected`.
    """
    library = library.absolute()
    listed = read_library(library, layout, genres)
    entries = listed.entries
    wanted = tuple(genres) or tuple(sorted({entry.genre for entry in entries if entry.genre}))
    catalog = scan_files(library, listed, wanted, spec)
    measured, unusable = measure_songs(catalog.songs, lambda song, pool: measure(song, spec, pool))
    original_of = find_duplicates((one.song.song, one.song.entry, one.fingerprint) for one in measured)
    duplicates = [
        Rejected(song.song, song.path, Reason.DUPLICATE.value, duplicate_detail(original), song.entry, original)
        for song in (one.song for one in measured)
        if (original := original_of.get(song.song))
    ]
    rejected = tuple(sorted((*catalog.rejected, *unusable, *duplicates), key=lambda item: item.song))
    return Inspection(
        library=library.name,
        synthetic=catalog.synthetic,
        genres=wanted,
        songs=tuple(one for one in measured if one.song.song not in original_of),
        rejected=rejected,
        rejected_per_genre=collections.Counter(entries[item.entry].genre for item in rejected),
        notes=catalog.notes,
    )


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

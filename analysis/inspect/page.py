"""The inspection of a library: measurements of its songs, the page, and the statistics beside it."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from matplotlib.ticker import MaxNLocator

from tumbao.analysis.songs import measure_songs, statistics_of, write_statistics
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
from tumbao.serving.formatting import clock
from tumbao.serving.page import data_uri, template, write_page

FAINTEST_DBFS = -100.0
"""Lowest level, also that of fainter sounds and silence."""

BARS = 14
"""Maximum number of bars of a histogram."""

PICTURES_PER_GENRE, TOP_ARTISTS = 6, 10

STATISTICS_FILE = "statistics.pbtxt"


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredSong:
    """Measurements of a usable song, or of a part of a song."""

    song: Song
    audio_format: str  # container and codec
    sample_rate_hz: int
    channels: int
    audio_tracks: int
    seconds: float  # as decoded
    rms_dbfs: float  # of the mono fragments: 0 for a square wave at full scale
    peak_dbfs: float
    truncated: bool  # the file breaks off
    padded: bool  # shorter than a fragment
    fingerprint: np.ndarray = dataclasses.field(repr=False)
    picture: bytes  # mel image of the middle fragment as PNG; empty for most songs
    picture_seconds: float  # start of that fragment in the file


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Contents of a library: each file that it lists is in `songs`, in its order, or in `rejected`, by identifier.

    `rejected_per_genre` includes genres that were not requested, and the empty name for files without a genre.
    """

    library: str
    synthetic: bool
    genres: tuple[str, ...]
    songs: tuple[MeasuredSong, ...]
    rejected: tuple[Rejected, ...]
    rejected_per_genre: collections.Counter[str]
    notes: tuple[str, ...]

    @property
    def found(self) -> int:
        """Number of usable songs and rejected files."""
        return len(self.songs) + len(self.rejected)


def run_inspect(
    library: AnyPath,
    out: Path,
    genres: Sequence[str],
    layout: str,
    say: Callable[[str], None],
    spec: MelSpec | None = None,
) -> int:
    """Inspect a library, write the page, and return 0, or 1 if no song is usable.

    `out` receives ``index.html`` and, if any song is usable, TFDV's statistics. No `genres` means all genres of the
    library. `say` is called with each line for the user.
    """
    spec = spec or MelSpec()
    inspection = inspect_library(library, genres, layout, spec)
    if inspection.songs:
        write_statistics(statistics_of(song_table(inspection.songs)), out / STATISTICS_FILE)
    write_page(out / "index.html", render_page(inspection, spec))
    for note in inspection.notes:
        say(note)
    hours = sum(song.seconds for song in inspection.songs) / 3_600
    say(
        f"found {inspection.found} = usable {len(inspection.songs)} + rejected {len(inspection.rejected)}; "
        f"{hours:.1f} h in {len(inspection.genres)} genres{' (synthetic library)' if inspection.synthetic else ''}"
    )
    say(str(out / "index.html"))
    return 0 if inspection.songs else 1


def inspect_library(library: AnyPath, genres: Sequence[str], layout: str, spec: MelSpec) -> Inspection:
    """Scan a library as a run does, but decode every song, and accept genres without usable songs."""
    library = library.absolute()
    listed = read_library(library, layout, genres)
    entries = listed.entries
    wanted = tuple(genres) or tuple(sorted({entry.genre for entry in entries if entry.genre}))
    catalog = scan_files(library, listed, wanted, spec)
    shown = _pictured(catalog.songs)
    measured, unusable = measure_songs(catalog.songs, lambda song, pool: measure(song, spec, pool, song.entry in shown))
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


def _pictured(songs: Sequence[Song]) -> set[int]:
    """Choose songs that are evenly spread over each genre, by their entries."""
    by_genre: dict[str, list[int]] = {}
    for song in songs:
        by_genre.setdefault(song.genre, []).append(song.entry)
    return {
        own[index]
        for own in by_genre.values()
        for index in np.linspace(0, len(own) - 1, min(PICTURES_PER_GENRE, len(own))).astype(int)
    }


def measure(song: Song, spec: MelSpec, pool: WorkerPool, pictured: bool) -> MeasuredSong:
    """Decode a song and measure it; raises AudioError if the decoded audio is unusable."""
    from tumbao.components.ingest import (  # imports TensorFlow, which takes seconds: not for an empty library
        mel,
        records,
    )

    squares, peak, padded, fingerprints, images, levels = 0.0, 0.0, False, [], [], mel.traced_levels(spec)
    items = Fragments(read_song(pool, song.part, spec, song.sha256))
    for item in items:
        squares += float(np.square(item.samples[: item.played], dtype=np.float64).sum())
        peak = max(peak, float(np.abs(item.samples).max()))
        padded = item.padded
        image = levels(item.samples)
        fingerprints.append(fingerprint(image, spec, item.played))
        if pictured and not item.silent:
            images.append((item.index, image))
    index, png = 0, b""
    if pictured:
        index, image = images[len(images) // 2]
        png = records.to_png(image, mel.palette(spec))
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
        truncated=ending.truncated,
        padded=padded,
        fingerprint=np.concatenate(fingerprints),
        picture=png,
        picture_seconds=song.start_seconds + index * spec.fragment_seconds,
    )


def _dbfs(amplitude: float) -> float:
    return max(FAINTEST_DBFS, 20 * math.log10(amplitude)) if amplitude else FAINTEST_DBFS


def song_table(songs: Sequence[MeasuredSong]) -> pd.DataFrame:
    """Return a row for each song; None where a value is unknown."""
    fields = dataclasses.fields(MeasuredSong)
    others = ("song", "fingerprint", "picture", "picture_seconds")
    columns = [field.name for field in fields if field.name not in others]
    rows = [
        {"genre": one.song.genre, "artist": one.song.artist or None} | {name: getattr(one, name) for name in columns}
        for one in songs
    ]
    return pd.DataFrame(rows, columns=["genre", "artist", *columns])


def artists(table: pd.DataFrame) -> pd.DataFrame:
    """Group songs by artist, as a split by artist does; the artist with the most songs is first."""
    keys = table.artist.fillna("").map(artist_key)
    known = table[keys != ""].groupby(keys[keys != ""])
    found = known.agg(
        name=("artist", lambda own: own.mode()[0]),  # the most frequent spelling
        songs=("seconds", "size"),
        seconds=("seconds", "sum"),
        genres=("genre", lambda own: ", ".join(sorted(own.unique()))),
    )
    return found.sort_values(["songs", "name"], ascending=[False, True])


def histogram(table: pd.DataFrame, column: str) -> dict[str, Any]:
    """Count the songs of each genre in bars that all genres share; the last bar counts the longest tail too."""
    values = table[column]
    low = values.min()
    high = max(values.quantile(0.95), low + BARS)  # bars are at least one second or decibel wide
    edges = MaxNLocator(BARS, steps=[1, 2, 3, 5, 6, 10]).tick_values(low, high)
    counts = {
        genre: np.histogram(own.clip(upper=edges[-1]), edges)[0].tolist() for genre, own in values.groupby(table.genre)
    }
    return {"edges": edges.tolist(), "counts": counts, "beyond": bool(values.max() > edges[-1])}


def render_page(inspection: Inspection, spec: MelSpec) -> str:
    """Render the page, which needs no other file but the statistics."""
    songs, table = inspection.songs, song_table(inspection.songs)
    columns = {
        "Format": "audio_format",
        "Sampling rate": "sample_rate_hz",
        "Channels": "channels",
        "Audio tracks": "audio_tracks",
    }
    counts = {label: table.groupby(name).seconds.agg(songs="size", seconds="sum") for label, name in columns.items()}
    known = artists(table)
    genres = []
    for name in inspection.genres:
        own = table[table.genre == name]
        ranges = own[["seconds", "rms_dbfs", "peak_dbfs"]].agg(["min", "median", "max"]).to_dict()
        about = {"name": name, "songs": len(own), "seconds": own.seconds.sum(), "ranges": ranges}
        genres.append(about | {"artists": len(artists(own)), "rejected": inspection.rejected_per_genre[name]})
    return template(Path(__file__).parent).render(
        inspection=inspection,
        seconds=table.seconds.sum(),
        genres=genres,
        artists=list(known.itertuples()),
        top_artists=TOP_ARTISTS,
        unnamed=len(songs) - known.songs.sum(),
        reasons=collections.Counter(item.reason for item in inspection.rejected).most_common(),
        duplicates=[item for item in inspection.rejected if item.reason == Reason.DUPLICATE.value],
        counts={label: own.sort_values("songs", ascending=False, kind="stable") for label, own in counts.items()},
        flagged=[song for song in songs if song.truncated or song.padded],
        durations=histogram(table, "seconds") if songs else None,
        loudness=histogram(table, "rms_dbfs") if songs else None,
        clock=clock,
        decibels=lambda level: f"{level:.1f}".replace("-", "−"),
        data_uri=data_uri,
        fragment_seconds=spec.fragment_seconds,
    )

"""Descriptors of songs: training songs from the mel images in their records, new songs from their audio."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from tumbao.analysis.drift.descriptors import SongDescriptors, describe
from tumbao.analysis.songs import measure_songs, render_fragments
from tumbao.components.ingest import progress
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.formats import find_layout, read_library, with_one_spelling
from tumbao.components.ingest.fragments import Fragments
from tumbao.components.ingest.library import Rejected, Song, scan_files
from tumbao.components.ingest.listing import SongList
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.song_list import read_entries
from tumbao.components.ingest.tables import json_lines
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema import record
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec

MAX_TRAINING_SONGS = 2_000
"""Maximum number of training songs, to bound memory. With this many, random differences come from the new songs."""


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Records of a run."""

    run: str
    library: str
    synthetic: bool  # songs are composed, not recorded
    genres: tuple[str, ...]
    spec: MelSpec
    examples: str  # folder of the Examples artefact
    ingested: str  # JSON Lines file with a line for every song


def measure_training(training: TrainingData) -> tuple[tuple[SongDescriptors, ...], int]:
    """Measure `MAX_TRAINING_SONGS` songs of the training split from their mel images, and count all its songs.

    The songs are chosen by a hash of their names: the same in every run.
    """
    lines_of: dict[str, list[dict[str, Any]]] = {}
    for line in json_lines(training.ingested):
        if line["split"] == "train" and line["fragments"] > 0:
            lines_of.setdefault(line["song"], []).append(line)
    if not lines_of:
        raise UserError(f"Expected records of the training split. Received: none in {training.examples}")
    chosen = frozenset(sorted(lines_of, key=lambda song: hashlib.sha256(song.encode()).digest())[:MAX_TRAINING_SONGS])
    from tumbao.components.ingest.records import decode_levels  # imports TensorFlow

    found: dict[str, list[tuple[float, np.ndarray]]] = {song: [] for song in chosen}
    progress.start("read records", sum(line["fragments"] for lines in lines_of.values() for line in lines))
    for features in _records(training):
        song = features[record.SONG].decode()
        if song in chosen:
            values = describe(decode_levels(features[record.IMAGE])[0], training.spec)
            found[song].append((features[record.START_SECONDS], values))
        progress.advance("read records")
    measured = tuple(
        SongDescriptors(
            song=song,
            path="",
            sha256="",
            genre=lines_of[song][0]["genre"],
            seconds=max(line["seconds"] for line in lines_of[song]),
            padded=any(line["padded"] for line in lines_of[song]),
            truncated=any(line["truncated"] for line in lines_of[song]),
            starts=np.array([start for start, _ in fragments]),
            values=np.array([values for _, values in fragments]),
        )
        for song, fragments in sorted(found.items())
        if fragments
    )
    return measured, len(lines_of)


def training_images(training: TrainingData, wanted: Collection[tuple[str, float]]) -> dict[tuple[str, float], bytes]:
    """Return PNG mel images of training fragments by song and start in seconds."""
    records = ((one[record.SONG].decode(), one[record.START_SECONDS], one[record.IMAGE]) for one in _records(training))
    return {(song, start): image for song, start, image in records if (song, start) in wanted}


def _records(training: TrainingData) -> Iterator[dict[str, Any]]:
    from tumbao.components.ingest.records import read_records  # imports TensorFlow

    return read_records(f"{training.examples}/Split-train/*.gz")


@dataclasses.dataclass(frozen=True)
class NewSongs:
    """New songs; each file found is in `songs`, in the library's order, or in `rejected`, sorted by identifier."""

    name: str
    synthetic: bool
    songs: tuple[SongDescriptors, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = ()


def measure_new_songs(library: AnyPath, layout: str, spec: MelSpec, genres: Sequence[str] = ()) -> NewSongs:
    """Measure every song of a plain folder, a list with a column `file_name`, or any library.

    The spelling of `genres` is preferred.
    """
    library = library.absolute()
    if library.is_file() and (layout == "manifest" or (layout == "auto" and find_layout(library) == "manifest")):
        entries = read_entries(library, root=library.parent, required=("file_name",))
        listed = with_one_spelling(SongList(entries), genres)
    else:
        listed = read_library(library, layout, genres)
    catalog = scan_files(library, listed, sorted({entry.genre for entry in listed.entries}), spec)
    songs, rejected = measure_songs(catalog.songs, lambda song, pool: _measure(song, spec, pool))
    return NewSongs(
        name=catalog.name,
        synthetic=catalog.synthetic,
        songs=tuple(songs),
        rejected=tuple(sorted((*catalog.rejected, *rejected), key=lambda item: item.song)),
        notes=catalog.notes,
    )


def _measure(song: Song, spec: MelSpec, pool: WorkerPool) -> SongDescriptors:
    from tumbao.components.ingest import mel  # imports TensorFlow, which takes seconds: not for an empty library

    levels, padded, starts, values = mel.traced_levels(spec), False, [], []
    items = Fragments(read_song(pool, song.part, spec, song.sha256))
    for item in items:
        if item.silent:  # ingest skips silent fragments, too
            continue
        padded = item.padded
        starts.append(song.start_seconds + item.index * spec.fragment_seconds)
        values.append(describe(levels(item.samples), spec))
    return SongDescriptors(
        song=song.song,
        path=song.path,
        sha256=song.sha256,
        genre=song.genre,
        seconds=items.ending.seconds,
        padded=padded,
        truncated=items.ending.truncated,
        starts=np.array(starts),
        values=np.array(values),
    )


def new_images(fragments: Sequence[tuple[SongDescriptors, int]], spec: MelSpec) -> list[bytes | None]:
    """Render fragments, given by song and index, as PNG mel images; None for a file that has become unusable."""
    parts = []
    for song, index in fragments:
        start = float(song.starts[index])
        end = start + (song.seconds if song.padded else spec.fragment_seconds)
        parts.append((AudioSegment(song.path, start, end), song.sha256))
    return render_fragments(parts, spec)

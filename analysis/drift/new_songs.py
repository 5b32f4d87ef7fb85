"""Descriptors of new songs, whose genres may be unknown."""

from __future__ import annotations

import concurrent.futures
import dataclasses
from collections.abc import Sequence

import numpy as np

from tumbao.analysis.drift.descriptors import describe
from tumbao.analysis.drift.song_descriptors import SongDescriptors
from tumbao.components.ingest import progress
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.formats import find_layout, read_library, with_one_spelling
from tumbao.components.ingest.fragments import Fragments
from tumbao.components.ingest.library import Rejected, Song, scan_files
from tumbao.components.ingest.listing import SongList
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.song_list import read_entries
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count
from tumbao.schema.mel_spec import MelSpec


@dataclasses.dataclass(frozen=True)
class NewSongs:
    """New music; each file found is in `heard`, in the library's order, or in `rejected`, sorted by identifier.

    `synthetic` says that the library declares its songs as composed, not recorded. For `notes`, see `listing.SongList`.
    """

    name: str
    synthetic: bool
    heard: tuple[SongDescriptors, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = ()


def listen(library: AnyPath, layout: str, spec: MelSpec, genres: Sequence[str] = ()) -> NewSongs:
    """Measure every song of a folder or a list.

    `library` is a plain folder of songs, or anything that `formats.read_library` reads; a list needs only the column
    `file_name`. The spelling of `genres` is preferred. Memory holds one fragment for each processor.
    """
    library = library.absolute()
    listed = _listed(library, layout, genres)
    catalog = scan_files(library, listed, sorted({entry.genre for entry in listed.entries}), spec)
    progress.start("listen", len(catalog.songs))
    with WorkerPool() as pool, concurrent.futures.ThreadPoolExecutor(cpu_count()) as threads:
        outcomes = list(threads.map(lambda song: _hear(song, spec, pool), catalog.songs))
    unheard = tuple(outcome for outcome in outcomes if isinstance(outcome, Rejected))
    return NewSongs(
        name=catalog.name,
        synthetic=catalog.synthetic,
        heard=tuple(outcome for outcome in outcomes if isinstance(outcome, SongDescriptors)),
        rejected=tuple(sorted(catalog.rejected + unheard, key=lambda item: item.song)),
        notes=catalog.notes,
    )


def levels_at(song: SongDescriptors, index: int, spec: MelSpec, pool: WorkerPool) -> np.ndarray:
    """Render one fragment of a new song: indexes of its mel image, int32 [image_height, image_width].

    Raises AudioError if the file has become unusable since it was measured.
    """
    from tumbao.components.ingest import mel  # imports TensorFlow

    start = float(song.starts[index])
    end = start + (song.seconds if song.padded else spec.fragment_seconds)
    fragment, *_ = Fragments(read_song(pool, AudioSegment(song.path, start, end), spec, song.sha256))
    return mel.traced_levels(spec)(fragment.samples)


def _listed(library: AnyPath, layout: str, genres: Sequence[str]) -> SongList:
    if library.is_file() and (layout == "manifest" or (layout == "auto" and find_layout(library) == "manifest")):
        entries = read_entries(library, root=library.parent, required=("file_name",))
        return with_one_spelling(SongList(entries), genres)
    return read_library(library, layout, genres)


def _hear(song: Song, spec: MelSpec, pool: WorkerPool) -> SongDescriptors | Rejected:
    from tumbao.components.ingest import mel  # imports TensorFlow, which takes seconds: not for an empty library

    levels, padded, starts, values = mel.traced_levels(spec), False, [], []
    try:
        items = Fragments(read_song(pool, song.part, spec, song.sha256))
        for item in items:
            if item.silent:  # ingest skips silent fragments, too
                continue
            padded = item.padded
            starts.append(song.start_seconds + item.index * spec.fragment_seconds)
            values.append(describe(levels(item.samples), spec))
        ending = items.ending
    except AudioError as error:
        return Rejected(song.song, song.path, error.reason.value, error.sentence, song.entry)
    finally:
        progress.advance("listen")
    return SongDescriptors(
        song=song.song,
        path=song.path,
        sha256=song.sha256,
        genre=song.genre,
        seconds=ending.seconds,
        padded=padded,
        truncated=ending.truncated,
        starts=np.array(starts),
        values=np.array(values),
    )

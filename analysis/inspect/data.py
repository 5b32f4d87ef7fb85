"""Contents of a library: usable songs, and rejected files with the reason."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tumbao.analysis.inspect.measure import Measured, measure
from tumbao.components.ingest import progress
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.duplicates import duplicate_detail, find_duplicates
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.library import Rejected, Song, scan_files
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count
from tumbao.schema.mel_spec import MelSpec

Levels = Callable[[np.ndarray], np.ndarray]
"""Front-end for one fragment: samples → levels."""


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Contents of a library.

    `library` is the name of its folder or list; `synthetic` says that it declares its songs as composed, not recorded.
    `genres` are those that were looked for. `songs` are usable, in the library's order; `rejected` are all others,
    sorted by identifier. `rejected_per_genre` counts rejected files by genre, including genres that were not looked
    for; the empty name stands for no genre. For `notes`, see `listing.SongList`.
    """

    library: str
    synthetic: bool
    genres: tuple[str, ...]
    songs: tuple[Measured, ...]
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
    from tumbao.components.ingest import mel  # imports TensorFlow, which takes seconds: not for a help text

    library = library.absolute()
    listed = read_library(library, layout, genres)
    entries = listed.entries
    wanted = tuple(genres) or tuple(sorted({entry.genre for entry in entries if entry.genre}))
    catalog = scan_files(library, listed, wanted, spec)
    progress.start("listen", len(catalog.songs))
    levels = mel.traced_levels(spec)
    with WorkerPool() as pool, concurrent.futures.ThreadPoolExecutor(cpu_count()) as threads:
        outcomes = list(threads.map(lambda song: _listen(song, spec, pool, levels), catalog.songs))
    songs, unusable = _without_copies(outcomes)
    rejected = tuple(sorted((*catalog.rejected, *unusable), key=lambda item: item.song))
    return Inspection(
        library=library.name,
        synthetic=catalog.synthetic,
        genres=wanted,
        songs=songs,
        rejected=rejected,
        rejected_per_genre=collections.Counter(entries[item.entry].genre for item in rejected),
        notes=catalog.notes,
    )


def _listen(song: Song, spec: MelSpec, pool: WorkerPool, levels: Levels) -> Measured | Rejected:
    try:
        return measure(song, spec, pool, levels)
    except AudioError as error:
        return Rejected(song.song, song.path, error.reason.value, error.sentence, song.entry)
    finally:
        progress.advance("listen")


def _without_copies(
    outcomes: Sequence[Measured | Rejected],
) -> tuple[tuple[Measured, ...], tuple[Rejected, ...]]:
    measured = [outcome for outcome in outcomes if isinstance(outcome, Measured)]
    kept = find_duplicates((one.song.song, one.song.entry, one.fingerprint) for one in measured)
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    for one in measured:
        if original := kept.get(one.song.song):
            song, path, entry = one.song.song, one.song.path, one.song.entry
            rejected.append(Rejected(song, path, Reason.DUPLICATE.value, duplicate_detail(original), entry, original))
    return tuple(one for one in measured if one.song.song not in kept), tuple(rejected)

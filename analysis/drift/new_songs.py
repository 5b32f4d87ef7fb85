"""Listening to new songs, whose genres nobody needs to know."""

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
from tumbao.components.ingest.library import Rejected, Song, look_through
from tumbao.components.ingest.listing import SongList
from tumbao.components.ingest.paths import Place
from tumbao.components.ingest.song_list import read_entries
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count
from tumbao.schema.mel_spec import MelSpec


@dataclasses.dataclass(frozen=True)
class NewSongs:
    """New music: every file found stands in `heard` or in `rejected`.

    Parameters
    ----------
    name : str
        Name of the folder or the list.
    synthetic : bool
        Whether it says that its songs are composed, not recorded.
    heard : tuple of SongDescriptors
        What could be measured, in the library's order.
    rejected : tuple of Rejected
        All else, sorted by identifier.
    notes : tuple of str
        See `listing.SongList`.
    """

    name: str
    synthetic: bool
    heard: tuple[SongDescriptors, ...]
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = ()


def listen(library: Place, layout: str, spec: MelSpec, genres: Sequence[str] = ()) -> NewSongs:
    """Measure every song of a folder or a list.

    Parameters
    ----------
    library : Place
        A plain folder of songs, or anything that `layouts.read_library` reads; a list needs no column but `file_name`.
    layout : str
        One of `layouts.LAYOUTS`.
    spec : MelSpec
        The front-end's parameters.
    genres : sequence of str
        Genres whose spelling is preferred.

    Returns
    -------
    songs : NewSongs
        One fragment is in memory at a time for each processor.

    Raises
    ------
    ValueError
        If the library is not there or makes no sense.
    """
    library = library.absolute()
    listed = _listed(library, layout, genres)
    catalog = look_through(library, listed, sorted({entry.genre for entry in listed.entries}), spec)
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
    """Draw one fragment of a new song.

    Parameters
    ----------
    song : SongDescriptors
        The song.
    index : int
        Which of its fragments.
    spec : MelSpec
        The front-end's parameters.
    pool : WorkerPool
        Decodes it.

    Returns
    -------
    levels : np.ndarray [shape=(image_height, image_width), dtype=int32]
        Indexes of its mel image, see `mel.mel_levels`.

    Raises
    ------
    AudioError
        If the file has become unusable since.
    """
    from tumbao.components.ingest import mel  # TensorFlow

    start = float(song.starts[index])
    end = start + (song.seconds if song.padded else spec.fragment_seconds)
    fragment, *_ = Fragments(read_song(pool, AudioSegment(song.path, start, end), spec, song.sha256))
    return mel.traced_levels(spec)(fragment.samples)


def _listed(library: Place, layout: str, genres: Sequence[str]) -> SongList:
    if library.is_file() and (layout == "manifest" or (layout == "auto" and find_layout(library) == "manifest")):
        entries = read_entries(library, root=library.parent, required=("file_name",))
        return with_one_spelling(SongList(entries), genres)
    return read_library(library, layout, genres)


def _hear(song: Song, spec: MelSpec, pool: WorkerPool) -> SongDescriptors | Rejected:
    from tumbao.components.ingest import mel  # TensorFlow: seconds that an empty library need not spend

    levels, padded, starts, values = mel.traced_levels(spec), False, [], []
    try:
        items = Fragments(read_song(pool, song.part, spec, song.sha256))
        for item in items:
            if item.silent:  # ingest leaves it out, too
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

"""Scan a library with sub-genres as labels, as far as there are enough songs of each."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Sequence

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.library import Catalog, look_through, require_usable
from tumbao.components.ingest.listing import SongList
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.components.ingest.subgenre_folding import Folded, fold
from tumbao.schema.errors import UserError
from tumbao.schema.genre_names import find_genre, one_spelling
from tumbao.schema.hierarchy import SEPARATOR, in_order
from tumbao.schema.mel_spec import MelSpec


def scan_leaves(
    library: AnyPath,
    genres: Sequence[str],
    spec: MelSpec,
    layout: str = "auto",
    *,
    min_songs: int,
    memory: ScanCache | None = None,
    growing: Collection[str] = (),
) -> tuple[Catalog, tuple[str, ...]]:
    """Scan a library as `library.scan` does, with leaves of the hierarchy in place of genres.

    `genres` are the run's genres, without sub-genres. A sub-genre with fewer than `min_songs` songs is folded, see
    `subgenre_folding.fold`. Returns the catalog, in which each song's genre is a leaf, and all leaves in the order of
    the labels.
    """
    if named := [genre for genre in genres if SEPARATOR in genre]:
        raise UserError(
            f"Expected genres without sub-genres, which the library names. Received: {', '.join(named)}. "
            "Give --genres as salsa, not as salsa/dura, or leave --subgenres out."
        )
    listed = divided(read_library(library.absolute(), layout, genres), genres)
    catalog = look_through(library, listed, genres, spec, memory=memory, growing=growing)
    require_usable(catalog, genres, library)
    return folded_up(catalog, min_songs)


def divided(songs: SongList, genres: Sequence[str]) -> SongList:
    """Separate genre and sub-genre where a list names both in one, as `salsa/romantica`.

    Each sub-genre gets one spelling. There are two levels: text after a second slash is left out. A song with two
    sub-genres gets a fault; songs of genres other than `genres` stay as they are.
    """
    named: dict[int, tuple[str, list[str]]] = {}  # index → genre, sub-genres
    for index, entry in enumerate(songs.entries):
        head, _, rest = entry.genre.partition(SEPARATOR)
        if genre := find_genre(head, genres):
            several = (name.partition(SEPARATOR)[0].strip() for name in (rest, entry.subgenre))
            named[index] = genre, [f"{genre}{SEPARATOR}{name}" for name in several if name]
    spelling, merged = one_spelling(name for _, names in named.values() for name in names)
    found: dict[str, set[str]] = collections.defaultdict(set)
    for index, (genre, names) in named.items():
        found[songs.entries[index].song] |= {spelling[name] for name in names} or {genre}
    entries = list(songs.entries)
    for index, (genre, _) in named.items():
        leaves = sorted(found[entries[index].song])
        fault = ""
        if len(leaves) > 1:
            fault = f"expected one sub-genre of the song, and the same of all its parts; received {', '.join(leaves)}"
        subgenre = leaves[0].partition(SEPARATOR)[2]
        entries[index] = dataclasses.replace(
            entries[index],
            genre=genre,
            subgenre=subgenre,
            fault=entries[index].fault or fault,
            fault_reason=Reason.INVALID_ROW if fault and not entries[index].fault else entries[index].fault_reason,
        )
    return SongList(entries, (*songs.notes, *merged))


def folded_up(catalog: Catalog, min_songs: int) -> tuple[Catalog, tuple[str, ...]]:
    """Choose the leaves, and set each song's genre to its leaf; the parts of a song count once.

    Returns the catalog and all leaves by genre.
    """
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for genre, subgenre, _ in {(song.genre, song.subgenre, song.song) for song in catalog.songs}:
        counts[genre][subgenre] += 1
    leaf_of: dict[tuple[str, str], str] = {}
    folded: list[Folded] = []
    for genre in sorted(counts):
        leaves, gone = fold(genre, counts[genre], min_songs)
        leaf_of |= {(genre, subgenre): leaf for subgenre, leaf in leaves.items()}
        folded += gone
    songs = tuple(dataclasses.replace(song, genre=leaf_of[song.genre, song.subgenre]) for song in catalog.songs)
    return dataclasses.replace(catalog, songs=songs, folded=tuple(folded)), in_order(leaf_of.values())

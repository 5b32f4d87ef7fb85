"""Scan a library with sub-genres as labels, as far as there are enough songs of each."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Mapping, Sequence

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.library import Catalog, require_usable, scan_files
from tumbao.components.ingest.listing import SongList
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.schema.errors import UserError
from tumbao.schema.genres import find_genre, one_spelling
from tumbao.schema.hierarchy import SEPARATOR, in_order
from tumbao.schema.mel_spec import MelSpec


def scan_subgenres(
    library: AnyPath,
    genres: Sequence[str],
    spec: MelSpec,
    layout: str = "auto",
    *,
    min_songs: int,
    scan_cache: ScanCache | None = None,
    unfinished: Collection[str] = (),
) -> tuple[Catalog, tuple[str, ...]]:
    """Scan a library as `library.scan` does, with leaves of the hierarchy in place of genres; return them, too."""
    if named := [genre for genre in genres if SEPARATOR in genre]:
        raise UserError(
            f"Expected genres without sub-genres: the library defines those. Received: {', '.join(named)}. "
            "Write --genres salsa, not salsa/dura, or omit --subgenres."
        )
    listed = split_subgenres(read_library(library.absolute(), layout, genres), genres)
    catalog = scan_files(library, listed, genres, spec, scan_cache=scan_cache, unfinished=unfinished)
    require_usable(catalog, genres, library)
    return merge_subgenres(catalog, min_songs)


def split_subgenres(songs: SongList, genres: Sequence[str]) -> SongList:
    """Separate genre and sub-genre where a list names both in one, as `salsa/romantica`.

    There are two levels: text after a second slash is left out. A song with two sub-genres gets a fault.
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


def merge_subgenres(catalog: Catalog, min_songs: int) -> tuple[Catalog, tuple[str, ...]]:
    """Choose the leaves, and set each song's genre to its leaf; the parts of a song count once."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for genre, subgenre, _ in {(song.genre, song.subgenre, song.song) for song in catalog.songs}:
        counts[genre][subgenre] += 1
    leaf_of: dict[tuple[str, str], str] = {}
    merged: list[str] = []
    for genre in sorted(counts):
        leaves, too_small = choose_leaves(genre, counts[genre], min_songs)
        leaf_of |= {(genre, subgenre): leaf for subgenre, leaf in leaves.items()}
        merged += too_small
    songs = tuple(dataclasses.replace(song, genre=leaf_of[song.genre, song.subgenre]) for song in catalog.songs)
    return dataclasses.replace(catalog, songs=songs, merged=tuple(merged)), in_order(leaf_of.values())


def choose_leaves(genre: str, songs: Mapping[str, int], min_songs: int) -> tuple[dict[str, str], list[str]]:
    """Choose the leaves of one genre; a leaf beside others has at least `min_songs`.

    `songs` maps each sub-genre to its number of songs, and the empty name to the songs without one. With `min_songs` of
    10, 9 songs of salsa, 12 of romantica and 4 of dura become the leaves salsa (13) and salsa/romantica (12).
    """
    left = sorted((name for name in songs if name), key=lambda name: (songs[name], name))
    own = songs.get("", 0)
    merged: list[str] = []
    while left and (songs[left[0]] < min_songs or 0 < own < min_songs or (not own and len(left) == 1)):
        name = left.pop(0)
        because = ""
        if songs[name] >= min_songs:
            because = f", which had only {own} beside it" if own else ": there is no other leaf"
        count = f"{songs[name]} song{'' if songs[name] == 1 else 's'}"
        merged.append(f"{genre}{SEPARATOR}{name}: {count}, merged into {genre}{because}")
        own += songs[name]
    leaf_of = {name: f"{genre}{SEPARATOR}{name}" if name in left else genre for name in songs}
    return leaf_of, merged

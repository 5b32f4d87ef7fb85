"""Which form a library has, and how each of them is listed.

Left to itself, `read_library` takes a file for a list of songs, unless it is a table of MTG-Jamendo's; and a folder
for the first of these that fits: audiofolder, if `metadata.csv` or `metadata.jsonl` lies in it or in one of its split
folders; FMA, if its `tracks.csv` is there; MTG-Jamendo, if one of its tables is there; else a folder of genre folders.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from tumbao.components.ingest.listing import Entry, SongList, read_folder, split_name
from tumbao.components.ingest.manifest import read_entries, read_manifest
from tumbao.components.ingest.places import Place, is_remote
from tumbao.components.ingest.published import fma_table, jamendo_table, read_fma, read_jamendo
from tumbao.errors import UserError
from tumbao.schema.genre_names import one_spelling

LAYOUTS: tuple[str, ...] = ("auto", "folder", "manifest", "audiofolder", "fma", "jamendo")
"""The forms of a library that can be asked for."""

_METADATA = (".csv", ".jsonl", ".parquet")


def read_library(source: Place, layout: str = "auto", genres: Sequence[str] = ()) -> SongList:
    """List the songs of a library.

    Parameters
    ----------
    source : Place
        A folder, or a list of songs.
    layout : str
        One of `LAYOUTS`; `auto` looks at what is there.
    genres : sequence of str
        The run's genres. They choose among several genres that FMA or MTG-Jamendo give one track, and whatever
        spelling of a genre the library has, the entry has theirs.

    Returns
    -------
    songs : SongList
        Whether their genres are the run's, and their files what they should be, is for others to say.

    Raises
    ------
    ValueError
        If the layout is unknown, the source is not there or of another form, or one of its lists does not make sense.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"Expected a layout out of {', '.join(LAYOUTS)}. Received: {layout!r}")
    if not source.exists():
        raise UserError(f"Expected a folder of songs or a list of songs. Received: {source}, which does not exist.")
    if layout == "auto":
        layout = find_layout(source)
    readers: dict[str, Callable[[], SongList]] = {
        "folder": lambda: read_folder(source),
        "manifest": lambda: SongList(read_manifest(source)),
        "audiofolder": lambda: read_audiofolder(source),
        "fma": lambda: read_fma(source, genres),
        "jamendo": lambda: read_jamendo(source, genres),
    }
    return with_one_spelling(readers[layout](), genres)


def with_one_spelling(songs: SongList, genres: Sequence[str] = ()) -> SongList:
    """Spell each genre of a library in one way, see `genre_names.one_spelling`.

    Parameters
    ----------
    songs : SongList
        As the library spells it.
    genres : sequence of str
        The run's genres.

    Returns
    -------
    songs : SongList
        With a note for each genre that the library spells in several ways.
    """
    spelling, merged = one_spelling((entry.genre for entry in songs.entries), genres)
    entries = [
        entry if entry.genre == spelling[entry.genre] else dataclasses.replace(entry, genre=spelling[entry.genre])
        for entry in songs.entries
    ]
    return SongList(entries, (*songs.notes, *merged))


def find_layout(source: Place) -> str:
    """Tell the form of a library by looking at it.

    Parameters
    ----------
    source : Place
        A folder or a file.

    Returns
    -------
    layout : str
        One of `LAYOUTS`, but `auto`; see the top of this file.
    """
    if source.is_dir() and _metadata_files(source):
        return "audiofolder"
    if source.is_dir() and fma_table(source):
        return "fma"
    if jamendo_table(source):
        return "jamendo"
    return "folder" if source.is_dir() else "manifest"


def read_audiofolder(folder: Place) -> SongList:
    """List a folder in the form of Hugging Face's audiofolder, with metadata files.

    Parameters
    ----------
    folder : Place
        `metadata.csv` or `metadata.jsonl` lies in it or in its split folders, with `file_name` relative to where it
        lies. Genres stand in its column `genre` or `label`; without one, the folder of a song is its genre.

    Returns
    -------
    songs : SongList
        What the metadata lists, in the order of its rows, then the files that it does not list, without a genre. The
        name of a split folder counts for more than a column `split`.

    Raises
    ------
    ValueError
        If there is no metadata, or it does not make sense.
    """
    root = folder.absolute()
    files = _metadata_files(root)
    tables = [file for file in files if file.suffix.lower() != ".parquet"]
    if not tables:
        raise UserError(
            f"Expected metadata.csv or metadata.jsonl in {folder} or in its split folders. Received: "
            f"{', '.join(map(str, files)) or 'neither'}. With --layout folder the folders of the songs are the genres."
        )
    folders = [table.parent for table in tables]
    if len(set(folders)) < len(folders):
        raise UserError(f"Expected one metadata file in a folder. Received: {', '.join(map(str, tables))}")
    there = read_folder(root)
    found = {entry.path: entry for entry in there.entries}
    entries: list[Entry] = []
    listed: set[str] = {str(file) for file in files}
    for table in tables:
        rows = read_entries(table, root=root, required=("file_name",))
        genres_by_folder = not any(row.genre for row in rows)
        for row in rows:
            path = row.path if is_remote(row.path) else os.path.normpath(row.path)
            place = found.get(path)
            if place is None:
                entries.append(row)
                continue
            listed.add(path)
            genre, subgenre = (place.genre, place.subgenre) if genres_by_folder else (row.genre, row.subgenre)
            split = place.split or row.split
            entries.append(
                dataclasses.replace(row, path=path, genre=genre, subgenre=subgenre, split=split, relative=False)
            )
    rest = (entry for path, entry in found.items() if path not in listed)
    entries += (entry if entry.fault else dataclasses.replace(entry, genre="") for entry in rest)
    return SongList(entries, there.notes)


def _metadata_files(folder: Place) -> list[Place]:
    files = sorted((*folder.glob("metadata.*"), *folder.glob("*/metadata.*")), key=str)
    return [
        file
        for file in files
        if file.suffix.lower() in _METADATA and (file.parent == folder or split_name(file.parent.name))
    ]

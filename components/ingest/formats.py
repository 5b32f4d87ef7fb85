"""Detect the layout of a library and list its songs.

With layout `auto`, a file is read as a list of songs, unless it is a table of MTG-Jamendo. A folder has the first of
these layouts that matches: audiofolder, if it or one of its split folders contains `metadata.csv` or `metadata.jsonl`;
FMA, if it contains FMA's `tracks.csv`; MTG-Jamendo, if it contains one of its tables; else a folder of genre folders.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from tumbao.components.ingest.listing import Entry, SongList, read_folder, split_name
from tumbao.components.ingest.paths import AnyPath, is_remote
from tumbao.components.ingest.published_datasets import fma_table, jamendo_table, read_fma, read_jamendo
from tumbao.components.ingest.song_list import read_entries, read_manifest
from tumbao.schema.errors import UserError
from tumbao.schema.genre_names import one_spelling

LAYOUTS: tuple[str, ...] = ("auto", "folder", "manifest", "audiofolder", "fma", "jamendo")
"""The selectable layouts of a library."""

_METADATA = (".csv", ".jsonl", ".parquet")


def read_library(source: AnyPath, layout: str = "auto", genres: Sequence[str] = ()) -> SongList:
    """List the songs of a folder or of a list of songs.

    `layout` is one of `LAYOUTS`; `auto` detects it. `genres` are the run's genres: they select among several genres
    that FMA or MTG-Jamendo assign to one track, and entries use their spelling whatever the library's. The entries'
    genres and files are not checked. Raises ValueError if the layout is unknown, the source does not exist or has
    another layout, or one of its lists is invalid.
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
    """Use one spelling for each genre of a library, see `genre_names.one_spelling`.

    A note is added for each genre that the library spells in several ways.
    """
    spelling, merged = one_spelling((entry.genre for entry in songs.entries), genres)
    entries = [
        entry if entry.genre == spelling[entry.genre] else dataclasses.replace(entry, genre=spelling[entry.genre])
        for entry in songs.entries
    ]
    return SongList(entries, (*songs.notes, *merged))


def find_layout(source: AnyPath) -> str:
    """Detect the layout of a library: one of `LAYOUTS` except `auto`, by the rules in the module's docstring."""
    if source.is_dir() and _metadata_files(source):
        return "audiofolder"
    if source.is_dir() and fma_table(source):
        return "fma"
    if jamendo_table(source):
        return "jamendo"
    return "folder" if source.is_dir() else "manifest"


def read_audiofolder(folder: AnyPath) -> SongList:
    """List a folder in the layout of Hugging Face's audiofolder, with metadata files.

    `metadata.csv` or `metadata.jsonl` lies in the folder or in its split folders, with a column `file_name` relative
    to the metadata file. The genre is in its column `genre` or `label`; without either, a song's folder is its genre.
    The entries are the rows of the metadata in order, then the files that it does not list, without a genre. The name
    of a split folder overrides a column `split`. Raises ValueError if there is no metadata or it is invalid.
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


def _metadata_files(folder: AnyPath) -> list[AnyPath]:
    files = sorted((*folder.glob("metadata.*"), *folder.glob("*/metadata.*")), key=str)
    return [
        file
        for file in files
        if file.suffix.lower() in _METADATA and (file.parent == folder or split_name(file.parent.name))
    ]

"""Detect the layout of a library and list its songs.

With layout `auto`, a file is read as a list of songs, unless it is a table of MTG-Jamendo. A folder has the first of
these layouts that matches: audiofolder, if it or one of its split folders contains `metadata.csv` or `metadata.jsonl`;
FMA, if it contains FMA's `tracks.csv`; MTG-Jamendo, if it contains one of its tables; else a folder of genre folders.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from tumbao.components.ingest.listing import Entry, SongList, invalid_row, read_folder, split_name
from tumbao.components.ingest.paths import AnyPath, is_remote
from tumbao.components.ingest.song_list import read_entries, read_manifest
from tumbao.components.ingest.tables import read_cells
from tumbao.schema.errors import UserError
from tumbao.schema.genres import genre_key, one_spelling

LAYOUTS: tuple[str, ...] = ("auto", "folder", "manifest", "audiofolder", "fma", "jamendo")
"""The selectable layouts of a library."""

_METADATA = (".csv", ".jsonl", ".parquet")


def read_library(source: AnyPath, layout: str = "auto", genres: Sequence[str] = ()) -> SongList:
    """List the songs of a folder or of a list of songs.

    `genres` are the run's genres: they select among several that FMA or MTG-Jamendo assign to one track, and entries
    use their spelling. The entries' genres and files are not checked.
    """
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
    """Use one spelling for each genre of a library, with a note for each that the library spells in several ways."""
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

    Without a column `genre` or `label`, a song's folder is its genre; the name of a split folder overrides a column
    `split`. The entries are the rows of the metadata in order, then the files that it does not list, without a genre.
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
    listed_files = read_folder(root)
    found = {entry.path: entry for entry in listed_files.entries}
    entries: list[Entry] = []
    listed: set[str] = {str(file) for file in files}
    for table in tables:
        rows = read_entries(table, root=root, required=("file_name",))
        genres_by_folder = not any(row.genre for row in rows)
        for row in rows:
            path = row.path if is_remote(row.path) else os.path.normpath(row.path)
            file = found.get(path)
            if file is None:
                entries.append(row)
                continue
            listed.add(path)
            genre, subgenre = (file.genre, file.subgenre) if genres_by_folder else (row.genre, row.subgenre)
            split = file.split or row.split
            entries.append(
                dataclasses.replace(row, path=path, genre=genre, subgenre=subgenre, split=split, relative=False)
            )
    rest = (entry for path, entry in found.items() if path not in listed)
    entries += (entry if entry.fault else dataclasses.replace(entry, genre="") for entry in rest)
    return SongList(entries, listed_files.notes)


def _metadata_files(folder: AnyPath) -> list[AnyPath]:
    files = sorted((*folder.glob("metadata.*"), *folder.glob("*/metadata.*")), key=str)
    return [
        file
        for file in files
        if file.suffix.lower() in _METADATA and (file.parent == folder or split_name(file.parent.name))
    ]


_FMA_COLUMNS = {
    "genre_top": ("track", "genre_top"),
    "genres": ("track", "genres"),
    "title": ("track", "title"),
    "artist": ("artist", "name"),
    "album": ("album", "title"),
    "split": ("set", "split"),
    "subset": ("set", "subset"),
}
_JAMENDO_HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
_JAMENDO_TABLES = ("autotagging_genre", "autotagging", "raw_30s_cleantags_50artists", "raw_30s_cleantags", "raw_30s")
_JAMENDO_GENRE = "genre---"


def fma_table(folder: AnyPath) -> AnyPath | None:
    """Find FMA's `tracks.csv` in the folder, in its `fma_metadata` or, for one of the subsets, in the one beside it."""
    tables = (place / "tracks.csv" for place in _places(folder, "fma_metadata", "000"))
    return next((table for table in tables if {"", "track", "set"} <= {*_header(table, ",")}), None)


def read_fma(folder: AnyPath, genres: Sequence[str] = ()) -> SongList:
    """List the tracks of FMA, `fma_*/000/000123.mp3`, and faults for invalid rows of its tables.

    A track has its top genre and, if `genres.csv` is beside the table, its finer genres, see `one_genre`.
    """
    table = fma_table(folder)
    if table is None:
        raise UserError(
            f"Expected FMA's tracks.csv in {folder}, in its fma_metadata or in the fma_metadata beside it. Received: "
            "none of them. Unpack fma_metadata.zip where fma_small, fma_medium, fma_large or fma_full lies."
        )
    faults: list[Entry] = []
    titles = _fma_genres(table.parent / "genres.csv", faults)
    rows = _rows(table, ",", faults)
    (_, groups), (_, names) = next(rows), next(rows, (2, []))
    pairs = list(zip(groups, names, strict=False))
    if missing := [pair for pair in _FMA_COLUMNS.values() if pair not in pairs]:
        raise UserError(f"Expected FMA's columns in the first two rows of {table}. Received: none for {missing}")
    positions = {name: pairs.index(pair) for name, pair in _FMA_COLUMNS.items()}
    next(rows, None)  # the name of the first column
    tracks: dict[str, Entry] = {}
    for line, cells in rows:
        try:
            track = int(cells[0])
            values = {name: cells[position].strip() for name, position in positions.items()}
            finer = [titles[number] for number in ast.literal_eval(values["genres"] or "[]") if number in titles]
        except (ValueError, SyntaxError, TypeError, IndexError, MemoryError, RecursionError):
            faults.append(invalid_row(table, line, f"expected a track of FMA's. Received: {cells[:3]}"))
            continue
        genres_of_track = [name for name in dict.fromkeys((values["genre_top"], *finer)) if name]
        tracks[f"{track // 1000:03}/{track:06}"] = Entry(
            path="",
            song="",
            genre=one_genre(genres_of_track, genres),
            artist=values["artist"],
            album=values["album"],
            split=split_name(values["split"]),
            extras={
                "track_id": str(track),
                "title": values["title"],
                "subset": values["subset"],
                "genres": ", ".join(genres_of_track),
            },
        )
    return _join(folder, tracks, faults)


def jamendo_table(source: AnyPath) -> AnyPath | None:
    """Find a table of MTG-Jamendo: the source itself, or one in the folder, its `data` or the `data` beside it."""
    if source.is_file():
        tables = [source]
    else:  # never the folder itself, of which a copy would be made if it is in a bucket
        tables = [place / f"{name}.tsv" for name in _JAMENDO_TABLES for place in _places(source, "data", "00")]
    return next((table for table in tables if _header(table, "\t") == _JAMENDO_HEADER), None)


def read_jamendo(source: AnyPath, genres: Sequence[str] = ()) -> SongList:
    """List the tracks of MTG-Jamendo, `14/214.mp3` or `14/214.low.mp3`, and faults for invalid rows of its tables.

    The audio of a table is below its folder, or below the parent if its folder is called `data`. Artist and album are
    Jamendo's numbers. Splits come from `splits/split-0` beside the table, if it exists.
    """
    table = jamendo_table(source)
    if table is None:
        raise UserError(
            f"Expected a table of MTG-Jamendo's, such as autotagging_genre.tsv, in {source}, in its data or in the "
            f"data beside it. Received: none with the columns {', '.join(_JAMENDO_HEADER)}."
        )
    faults: list[Entry] = []
    splits = _jamendo_splits(table, faults)
    tracks: dict[str, Entry] = {}
    for line, cells in itertools.islice(_rows(table, "\t", faults), 1, None):
        if len(cells) < len(_JAMENDO_HEADER):
            faults.append(invalid_row(table, line, f"expected a track with tags. Received: {cells}"))
            continue
        track, artist, album, path, duration, *tags = cells
        names = [tag[len(_JAMENDO_GENRE) :] for tag in tags if tag.startswith(_JAMENDO_GENRE)]
        tracks[_numbered(path)] = Entry(
            path="",
            song="",
            genre=one_genre(names, genres),
            artist=artist,
            album=album,
            split=splits.get(track, ""),
            extras={"track_id": track, "duration": duration, "tags": " ".join(tags)},
        )
    folder = source
    if source.is_file():
        folder = table.absolute().parent
        folder = folder.parent if folder.name == "data" else folder
    return _join(folder, tracks, faults)


def one_genre(names: Sequence[str], genres: Sequence[str]) -> str:
    """Choose the genre of a track that has several, the most important first.

    It is the one that is a genre of the run; if none is, the track's first. Several are joined by commas, which is a
    genre of no run, since it is unknown which of them a model should learn.
    """
    spelled = {genre_key(name) for name in names}
    matching = [genre for genre in genres if genre_key(genre) in spelled]
    return ", ".join(matching) if matching else next(iter(names), "")


def _join(folder: AnyPath, tracks: Mapping[str, Entry], faults: Sequence[Entry]) -> SongList:
    found = read_folder(folder)
    entries = []
    for entry in found.entries:
        track = tracks.get(_numbered(entry.path), Entry(path="", song="", genre=""))
        entries.append(dataclasses.replace(track, path=entry.path, song=entry.song, fault=entry.fault))
    return SongList([*entries, *faults], found.notes)


def _numbered(path: str) -> str:
    plain = PurePosixPath(path)
    return f"{plain.parent.name}/{plain.name.partition('.')[0]}"


def _places(folder: AnyPath, tables: str, audio: str) -> list[AnyPath]:
    """Return the folders in which the tables of a data set may be, given the name of their folder and one of audio."""
    folder = folder.absolute()
    return [folder, folder / tables, *([folder.parent / tables] if (folder / audio).is_dir() else [])]


def _header(table: AnyPath, delimiter: str) -> list[str]:
    """Return the cells of a table's first row; empty if the file does not exist or is not a table."""
    try:
        return next(read_cells(table, delimiter, {}), (1, []))[1]
    except ValueError:
        return []


def _rows(table: AnyPath, delimiter: str, faults: list[Entry]) -> Iterator[tuple[int, list[str]]]:
    unreadable: dict[int, str] = {}
    yield from read_cells(table, delimiter, unreadable)
    faults += [invalid_row(table, line, fault) for line, fault in unreadable.items()]


def _fma_genres(table: AnyPath, faults: list[Entry]) -> dict[int, str]:
    if not table.exists():
        return {}
    rows = _rows(table, ",", faults)
    _, header = next(rows, (1, []))
    if missing := {"genre_id", "title"}.difference(header):
        raise UserError(f"Expected FMA's columns genre_id and title in {table}. Received: none for {sorted(missing)}")
    number, title = header.index("genre_id"), header.index("title")
    titles: dict[int, str] = {}
    for line, cells in rows:
        try:
            titles[int(cells[number])] = cells[title]
        except (ValueError, IndexError):
            faults.append(invalid_row(table, line, f"expected a genre of FMA's. Received: {cells}"))
    return titles


def _jamendo_splits(table: AnyPath, faults: list[Entry]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name in ("train", "validation", "test"):
        part = table.parent / "splits" / "split-0" / f"{PurePosixPath(table.name).stem}-{name}.tsv"
        if part.exists():
            splits.update(
                (cells[0], split_name(name)) for _, cells in itertools.islice(_rows(part, "\t", faults), 1, None)
            )
    return splits

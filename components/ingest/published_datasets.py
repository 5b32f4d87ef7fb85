"""Read the published datasets FMA and MTG-Jamendo in their original layout.

Their tables list far more tracks than most users have on disk: songs are the files that exist, and the table supplies
their metadata. A file that is not in the table has no genre.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from tumbao.components.ingest.listing import Entry, SongList, invalid_row, read_folder, split_name
from tumbao.components.ingest.paths import AnyPath
from tumbao.components.ingest.tables import POSSIBLE_DELIMITERS, read_cells
from tumbao.schema.errors import UserError
from tumbao.schema.genre_names import genre_key

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
    """Find FMA's `tracks.csv`; None if there is none.

    The folder contains `fma_metadata` and one or more of `fma_small`, `fma_medium`, `fma_large` and `fma_full`, or is
    one of them. The search covers the folder, its `fma_metadata` and, if it holds audio (`000`), the `fma_metadata`
    beside it.
    """
    folder = folder.absolute()
    places = [folder, folder / "fma_metadata"]
    if (folder / "000").is_dir():
        places.append(folder.parent / "fma_metadata")
    return next(
        (place / "tracks.csv" for place in places if _find_delimiter(place / "tracks.csv", _is_fma_header)), None
    )


def read_fma(folder: AnyPath, genres: Sequence[str] = ()) -> SongList:
    """List the tracks of FMA, `fma_*/000/000123.mp3`, and faults for invalid rows of its tables.

    A track has its top genre and, if `genres.csv` is beside the table, its finer genres, see `one_genre`. Title,
    track_id, subset and genres are extras. Raises an error if there is no `tracks.csv` of FMA, or a column is missing.
    """
    table = fma_table(folder)
    if table is None:
        raise UserError(
            f"Expected FMA's tracks.csv in {folder}, in its fma_metadata or in the fma_metadata beside it. Received: "
            "none there. Unpack fma_metadata.zip where fma_small, fma_medium, fma_large or fma_full lies."
        )
    faults: list[Entry] = []
    titles = _fma_genres(table.with_name("genres.csv"), faults)
    rows = _rows(table, _find_delimiter(table, _is_fma_header), faults)
    (_, groups), (_, names) = next(rows), next(rows, (2, []))
    pairs = list(zip(groups, names, strict=False))
    if missing := [pair for pair in _FMA_COLUMNS.values() if pair not in pairs]:
        raise UserError(f"Expected FMA's columns in the first two rows of {table}. Received: none for {missing}")
    places = {name: pairs.index(pair) for name, pair in _FMA_COLUMNS.items()}
    next(rows, None)  # the name of the first column
    known: dict[str, Entry] = {}
    for line, cells in rows:
        try:
            track = int(cells[0])
            told = {name: cells[place].strip() for name, place in places.items()}
            finer = [titles[number] for number in ast.literal_eval(told["genres"] or "[]") if number in titles]
        except (ValueError, SyntaxError, TypeError, IndexError, MemoryError, RecursionError):
            faults.append(invalid_row(table, line, f"expected a track of FMA's. Received: {cells[:3]}"))
            continue
        genres_of_track = [name for name in dict.fromkeys((told["genre_top"], *finer)) if name]
        known[f"{track // 1000:03}/{track:06}"] = Entry(
            path="",
            song="",
            genre=one_genre(genres_of_track, genres),
            artist=told["artist"],
            album=told["album"],
            split=split_name(told["split"]),
            extras={
                "track_id": str(track),
                "title": told["title"],
                "subset": told["subset"],
                "genres": ", ".join(genres_of_track),
            },
        )
    return _join(folder, known, faults)


def jamendo_table(source: AnyPath) -> AnyPath | None:
    """Find a table of MTG-Jamendo, given the table itself or a folder; None if there is none.

    The search for `autotagging_genre.tsv`, `autotagging.tsv`, … covers the folder, its `data` and, if it holds audio
    (`00`), the `data` beside it.
    """
    if source.is_file():
        return source if _find_delimiter(source, _is_jamendo_header) else None
    folder = source.absolute()
    places = [folder, folder / "data"]
    if (folder / "00").is_dir():
        places.append(folder.parent / "data")
    tables = (place / f"{name}.tsv" for name in _JAMENDO_TABLES for place in places)
    return next((table for table in tables if _find_delimiter(table, _is_jamendo_header)), None)


def read_jamendo(source: AnyPath, genres: Sequence[str] = ()) -> SongList:
    """List the tracks of MTG-Jamendo, `14/214.mp3` or `14/214.low.mp3`, and faults for invalid rows of its tables.

    `source` is a folder of audio, see `jamendo_table`, or a table; the audio of a table is below its folder, or below
    the parent if its folder is called `data`. Artist and album are Jamendo's numbers; track_id, duration and tags are
    extras. Splits come from `splits/split-0` beside the table, if it exists.
    """
    table = jamendo_table(source)
    if table is None:
        raise UserError(
            f"Expected a table of MTG-Jamendo's, such as autotagging_genre.tsv, in {source}, in its data or in the "
            f"data beside it. Received: none with the columns {', '.join(_JAMENDO_HEADER)}."
        )
    faults: list[Entry] = []
    splits = _jamendo_splits(table, faults)
    known: dict[str, Entry] = {}
    for line, cells in _jamendo_rows(table, faults):
        if len(cells) < len(_JAMENDO_HEADER):
            faults.append(invalid_row(table, line, f"expected a track with tags. Received: {cells}"))
            continue
        track, artist, album, path, duration, *tags = cells
        names = [tag[len(_JAMENDO_GENRE) :] for tag in tags if tag.startswith(_JAMENDO_GENRE)]
        known[_numbered(path)] = Entry(
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
    return _join(folder, known, faults)


def one_genre(names: Sequence[str], genres: Sequence[str]) -> str:
    """Choose the genre of a track that has several, the most important first.

    Returns the one that is a genre of the run, as the run spells it; if none is, the track's first. If several are,
    returns all of them, joined by commas. This is a genre of no run, since it is unknown which of them a model should
    learn.
    """
    spelled = {genre_key(name) for name in names}
    matching = [genre for genre in genres if genre_key(genre) in spelled]
    return ", ".join(matching) if matching else next(iter(names), "")


def _join(folder: AnyPath, known: Mapping[str, Entry], faults: Sequence[Entry]) -> SongList:
    found = read_folder(folder)
    entries = []
    for entry in found.entries:
        told = known.get(_numbered(entry.path), Entry(path="", song="", genre=""))
        entries.append(dataclasses.replace(told, path=entry.path, song=entry.song, fault=entry.fault))
    return SongList([*entries, *faults], found.notes)


def _numbered(path: str) -> str:
    plain = PurePosixPath(path)
    return f"{plain.parent.name}/{plain.name.partition('.')[0]}"


def _is_fma_header(header: Sequence[str]) -> bool:
    return header[0] == "" and {"track", "set"} <= set(header)


def _is_jamendo_header(header: Sequence[str]) -> bool:
    return header == _JAMENDO_HEADER


def _find_delimiter(table: AnyPath, fits: Callable[[Sequence[str]], bool]) -> str:
    """Return the delimiter for which the table's header fits; empty if there is no such delimiter or no table."""
    for delimiter in POSSIBLE_DELIMITERS:
        try:
            _, header = next(read_cells(table, delimiter, {}), (1, [""]))
        except ValueError:  # the file does not exist or is not a table
            return ""
        if fits(header):
            return delimiter
    return ""


def _rows(table: AnyPath, delimiter: str, faults: list[Entry]) -> Iterator[tuple[int, list[str]]]:
    unreadable: dict[int, str] = {}
    yield from read_cells(table, delimiter, unreadable)
    faults += [invalid_row(table, line, fault) for line, fault in unreadable.items()]


def _fma_genres(table: AnyPath, faults: list[Entry]) -> dict[int, str]:
    if not table.exists():
        return {}

    def fits(header: Sequence[str]) -> bool:
        return {"genre_id", "title"} <= set(header)

    delimiter = _find_delimiter(table, fits)
    if not delimiter:
        raise UserError(f"Expected FMA's columns genre_id and title in {table}. Received: others, or no table.")
    rows = _rows(table, delimiter, faults)
    _, header = next(rows)
    number, title = header.index("genre_id"), header.index("title")
    titles: dict[int, str] = {}
    for line, cells in rows:
        try:
            titles[int(cells[number])] = cells[title]
        except (ValueError, IndexError):
            faults.append(invalid_row(table, line, f"expected a genre of FMA's. Received: {cells}"))
    return titles


def _jamendo_rows(table: AnyPath, faults: list[Entry]) -> Iterator[tuple[int, list[str]]]:
    return itertools.islice(_rows(table, _find_delimiter(table, _is_jamendo_header) or "\t", faults), 1, None)


def _jamendo_splits(table: AnyPath, faults: list[Entry]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name in ("train", "validation", "test"):
        part = table.parent / "splits" / "split-0" / f"{table.stem}-{name}.tsv"
        if part.exists():
            splits.update((cells[0], split_name(name)) for _, cells in _jamendo_rows(part, faults))
    return splits

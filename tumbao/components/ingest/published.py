"""Music collections that others have published, in the form in which they come: FMA and MTG-Jamendo.

Their tables list far more tracks than most people have on disk, so the files that are there make the list and the table
tells about them. A file that the table does not know has no genre.
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from tumbao.components.ingest.listing import Entry, SongList, invalid_row, read_folder, split_name
from tumbao.components.ingest.places import Place
from tumbao.components.ingest.tables import POSSIBLE_DELIMITERS, read_cells
from tumbao.errors import UserError
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


def fma_table(folder: Place) -> Place | None:
    """Find FMA's `tracks.csv`.

    Parameters
    ----------
    folder : Place
        Holds `fma_metadata` and one or more of `fma_small`, `fma_medium`, `fma_large`, `fma_full`; or is one of them.

    Returns
    -------
    table : Place or None
        The first there is of `tracks.csv` in the folder, in its `fma_metadata` and, if it holds audio (`000`), in the
        `fma_metadata` beside it.
    """
    folder = folder.absolute()
    places = [folder, folder / "fma_metadata"]
    if (folder / "000").is_dir():
        places.append(folder.parent / "fma_metadata")
    return next(
        (place / "tracks.csv" for place in places if _find_delimiter(place / "tracks.csv", _is_fma_header)), None
    )


def read_fma(folder: Place, genres: Sequence[str] = ()) -> SongList:
    """List the tracks of FMA, `fma_*/000/000123.mp3`.

    Parameters
    ----------
    folder : Place
        See `fma_table`.
    genres : sequence of str
        The run's genres; see `one_genre`. A track has its top genre and, where `genres.csv` lies beside the table, its
        finer genres.

    Returns
    -------
    songs : SongList
        Every file below the folder; title, track_id, subset and genres are extras. Then the rows of the tables that
        cannot be used, as faults.

    Raises
    ------
    ValueError
        If there is no `tracks.csv` of FMA's, or a column is missing.
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


def jamendo_table(source: Place) -> Place | None:
    """Find a table of MTG-Jamendo.

    Parameters
    ----------
    source : Place
        The table itself, or a folder.

    Returns
    -------
    table : Place or None
        The first there is of `autotagging_genre.tsv`, `autotagging.tsv`, … in the folder, in its `data` and, if it
        holds audio (`00`), in the `data` beside it.
    """
    if source.is_file():
        return source if _find_delimiter(source, _is_jamendo_header) else None
    folder = source.absolute()
    places = [folder, folder / "data"]
    if (folder / "00").is_dir():
        places.append(folder.parent / "data")
    tables = (place / f"{name}.tsv" for name in _JAMENDO_TABLES for place in places)
    return next((table for table in tables if _find_delimiter(table, _is_jamendo_header)), None)


def read_jamendo(source: Place, genres: Sequence[str] = ()) -> SongList:
    """List the tracks of MTG-Jamendo, `14/214.mp3` or `14/214.low.mp3`.

    Parameters
    ----------
    source : Place
        A folder that holds the audio, see `jamendo_table`; or one of the tables, with the audio below its folder (or
        below the folder above, if its own is called `data`).
    genres : sequence of str
        The run's genres; see `one_genre`.

    Returns
    -------
    songs : SongList
        Every file below the folder. Artist and album are Jamendo's numbers; track_id, duration and tags are extras.
        Splits come from `splits/split-0` beside the table, where it is there. Then the rows of the tables that cannot
        be used, as faults.

    Raises
    ------
    ValueError
        If there is no table or it cannot be read.
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
    """Choose the genre of a track that has several.

    Parameters
    ----------
    names : sequence of str
        The track's genres, the most important first.
    genres : sequence of str
        The run's genres.

    Returns
    -------
    genre : str
        The one that is a genre of the run, as the run spells it. Where several are, all of them, with commas, which is
        a genre of no run: nobody can say which of them a model should learn. Where none is, the track's first.

    Examples
    --------
    >>> one_genre(["Latin", "Salsa"], ["cumbia", "salsa"])
    'salsa'
    >>> one_genre(["latin", "salsa", "cumbia"], ["cumbia", "salsa"])
    'cumbia, salsa'
    """
    spelled = {genre_key(name) for name in names}
    matching = [genre for genre in genres if genre_key(genre) in spelled]
    return ", ".join(matching) if matching else next(iter(names), "")


def _join(folder: Place, known: Mapping[str, Entry], faults: Sequence[Entry]) -> SongList:
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


def _find_delimiter(table: Place, fits: Callable[[Sequence[str]], bool]) -> str:
    """Find what stands between the cells of a table; give an empty text if its header does not fit with any."""
    for delimiter in POSSIBLE_DELIMITERS:
        try:
            _, header = next(read_cells(table, delimiter, {}), (1, [""]))
        except ValueError:  # not there, or no table at all
            return ""
        if fits(header):
            return delimiter
    return ""


def _rows(table: Place, delimiter: str, faults: list[Entry]) -> Iterator[tuple[int, list[str]]]:
    unreadable: dict[int, str] = {}
    yield from read_cells(table, delimiter, unreadable)
    faults += [invalid_row(table, line, fault) for line, fault in unreadable.items()]


def _fma_genres(table: Place, faults: list[Entry]) -> dict[int, str]:
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


def _jamendo_rows(table: Place, faults: list[Entry]) -> Iterator[tuple[int, list[str]]]:
    return itertools.islice(_rows(table, _find_delimiter(table, _is_jamendo_header) or "\t", faults), 1, None)


def _jamendo_splits(table: Place, faults: list[Entry]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for name in ("train", "validation", "test"):
        part = table.parent / "splits" / "split-0" / f"{table.stem}-{name}.tsv"
        if part.exists():
            splits.update((cells[0], split_name(name)) for _, cells in _jamendo_rows(part, faults))
    return splits

"""Read a list of songs: a CSV, TSV or JSON Lines file with a row for each song or part of a song."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import difflib
import functools
import math
import os
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path

from tumbao.components.ingest.listing import SPLIT_NAMES, Entry, identifier, invalid_row, split_name
from tumbao.components.ingest.paths import SCHEMES, AnyPath, is_remote
from tumbao.components.ingest.tables import Table, encode_text, read_table
from tumbao.schema.errors import UserError
from tumbao.schema.genres import genre_key

COLUMNS: tuple[str, ...] = ("file_name", "genre", "subgenre", "song", "artist", "album", "split", "start", "end")
"""Columns with a meaning; other columns become extras."""

ALIASES: dict[str, tuple[str, ...]] = {
    "file_name": ("archivo", "nombre_de_archivo", "nombre_del_archivo", "nombre_archivo", "fichero", "ruta"),
    "genre": ("label", "genero"),
    "subgenre": ("subgenero", "sub_genero"),
    "artist": ("artista", "interprete"),
    "album": ("disco",),
    "split": ("particion", "conjunto"),
    "start": ("inicio", "desde"),
    "end": ("fin", "final", "hasta"),
}
"""Alternative names of columns; accents are ignored. `cancion` is not among them, since it usually means a title."""

NamesIn = Callable[[str], dict[str, list[str]]]
"""Lists a folder, see `_names`."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WINDOWS = re.compile(r"/?[A-Za-z]:[/\\]|\\\\|//[^/]+/[^/]")
_QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»"}
_FILE_ADDRESS = re.compile(r"file:(?://(?:localhost)?(?=/))?(/.*)", re.IGNORECASE)


def read_manifest(file: AnyPath) -> list[Entry]:
    """Read a list of songs with at least the columns `file_name` and `genre`.

    `file_name` is relative to the list, absolute, or begins with gs:// or file://. Column names may contain capitals,
    spaces or hyphens. Entries are in the order of the rows; an invalid row is an entry with a fault, named by its line.
    """
    return read_entries(file, root=file.parent, required=("file_name", "genre"))


def read_entries(file: AnyPath, *, root: AnyPath, required: Sequence[str]) -> list[Entry]:
    """Read a list of songs that lies anywhere in a library.

    Paths are relative to the folder of the list; songs are named by their path below `root`, the library's folder.
    Raises an error if a required column is missing or the file cannot be read.
    """
    table = read_table(file, {*COLUMNS, *(alias for aliases in ALIASES.values() for alias in aliases)})
    columns = _meanings(table)
    _require_columns(file, table, [columns[name] for name in required])
    entries: dict[int, Entry] = {}
    names_in = functools.cache(_names)
    for line, row in table.rows:
        try:
            entry = _entry(file, columns, row, names_in)
        except ValueError as error:
            table.faults[line] = str(error)
        else:
            extras = {name: row.get(key, "") for key, name in table.columns.items() if key not in columns.values()}
            entries[line] = dataclasses.replace(entry, extras=extras)
    _name_songs(entries, root)
    first: dict[str, tuple[int, Entry]] = {}
    for line, entry in entries.items():
        earlier_line, earlier = first.setdefault(entry.song, (line, entry))
        if difference := _difference(earlier, entry):
            table.faults[line] = f"{difference} in line {earlier_line}. {_ONE_ROW}"
    where = identifier(str(file.absolute()), root)
    for line, fault in table.faults.items():
        entries[line] = invalid_row(file, line, fault, where)
    return [entry for _, entry in sorted(entries.items())]


_ONE_ROW = (
    "Keep one row for each file. `song` is what parts of one recording share, not a title, which belongs into another "
    "column."
)


def _meanings(table: Table) -> dict[str, str]:
    """Map each of `COLUMNS` to its name in the table."""
    plain = {re.sub("[\u0300-\u036f]", "", unicodedata.normalize("NFD", key)): key for key in reversed(table.columns)}
    columns: dict[str, str] = {}
    for name in COLUMNS:
        present = (one for one in (name, *ALIASES.get(name, ())) if one in plain)
        columns[name] = name if name in table.columns else plain.get(next(present, name), name)
    return columns


def _name_songs(entries: dict[int, Entry], root: AnyPath) -> None:
    """Name songs without a name by their file; all rows of one file, however they spell it, share one name."""
    files = {
        line: entry.path if is_remote(entry.path) else os.path.realpath(entry.path) for line, entry in entries.items()
    }
    names: dict[str, set[str]] = collections.defaultdict(set)
    for line, entry in entries.items():
        if entry.song:
            names[files[line]].add(entry.song)
    own: dict[str, str] = {file: one for file, (one, *others) in names.items() if not others}
    for line, entry in entries.items():
        if not entry.song:
            song = own.setdefault(files[line], identifier(entry.path, root))
            entries[line] = dataclasses.replace(entry, song=song)


def _difference(earlier: Entry, entry: Entry) -> str:
    for column in ("genre", "artist", "album"):
        before, here = getattr(earlier, column), getattr(entry, column)
        if before != here and (column != "genre" or genre_key(before) != genre_key(here)):
            return (
                f"expected the rows of the song {entry.song!r} to name one {column}. Received: {here!r}, but {before!r}"
            )
    return ""


def _require_columns(file: AnyPath, table: Table, required: Sequence[str]) -> None:
    missing = [name for name in required if name not in table.columns]
    if not missing:
        return
    similar = difflib.get_close_matches(missing[0], table.columns, 1)
    hint = f" Did you mean {missing[0]} by {table.columns[similar[0]]}?" if similar else ""
    raise UserError(
        f"Expected the columns {', '.join(required)} in {file} "
        f"(and, if you like, {', '.join(name for name in COLUMNS if name not in required)}). "
        f"Received: {', '.join(table.columns.values())}.{hint}"
    )


def _entry(file: AnyPath, columns: dict[str, str], row: dict[str, str], names_in: NamesIn) -> Entry:
    name = _resolve_name(row.get(columns["file_name"], ""), file.parent, names_in)
    remote = is_remote(name)
    path = name if remote else os.path.join(str(file.parent.absolute()), name)  # noqa: PTH118 - keeps a final slash
    values = {meaning: row.get(column, "").strip() for meaning, column in columns.items()}
    split = split_name(values["split"])
    if values["split"] and not split:
        raise UserError(f"expected a split out of {', '.join(SPLIT_NAMES)}. Received: {values['split']!r}")
    start, end = _seconds("start", values["start"]), _seconds("end", values["end"])
    if end is not None and end <= (start or 0):
        raise UserError(f"expected an end after the start. Received: start={start}, end={end}")
    return Entry(
        path=path,
        song=row.get("song", "") if values["song"] else "",
        genre=values["genre"],
        subgenre=values["subgenre"],
        artist=values["artist"],
        album=values["album"],
        split=split,
        start_seconds=start,
        end_seconds=end,
        relative=not remote and not Path(name).is_absolute(),
    )


def _resolve_name(name: str, folder: AnyPath, names_in: NamesIn) -> str:
    """Convert a name in a list to a path or an address."""
    refusal = f"expected a path or an address that begins with {SCHEMES[0]} as file_name. Received: {name!r}"
    if not name.strip() or "\0" in name:
        raise UserError(refusal)
    if is_remote(name) or (isinstance(folder, Path) and os.path.lexists(folder / name)):
        return name
    plain = name.strip()
    if len(plain) > 2 and _QUOTES.get(plain[0]) == plain[-1]:
        plain = plain[1:-1].strip()
    if address := _FILE_ADDRESS.fullmatch(plain):
        plain = urllib.parse.unquote(address[1], errors="surrogateescape")
    if _WINDOWS.match(plain):
        raise UserError(
            "expected a path of this machine, best relative to the list, such as salsa/song.mp3. "
            f"Received a path of Windows: {name!r}"
        )
    if is_remote(plain):
        return plain
    if _ADDRESS.match(plain) or "\0" in plain:
        raise UserError(refusal)
    if not isinstance(folder, Path):
        return plain.replace("\\", "/")
    for one in (plain, plain.replace("\\", "/"), encode_text(plain)):  # a name such as ‛80s.mp3 was decoded
        if os.path.lexists(folder / one):
            return one
    return _spelled_otherwise(folder, plain.replace("\\", "/"), names_in) or (name if plain == name.strip() else plain)


def _spelled_otherwise(folder: Path, name: str, names_in: NamesIn) -> str:
    """Find a file whose name differs from the listed one only in Unicode form or capitals."""
    path = Path("/") if name.startswith("/") else Path()
    for part in Path(name).parts[path.is_absolute() :]:
        if os.path.lexists(folder / path / part):
            path /= part
            continue
        names = names_in(str(folder / path))
        fitting = names.get(unicodedata.normalize("NFC", part)) or names.get(genre_key(part)) or []
        if len(fitting) != 1:
            return ""
        path /= fitting[0]
    return str(path)


def _names(folder: str) -> dict[str, list[str]]:
    """List a folder: each name in Unicode's composed form, and in lower case → the file names that match it."""
    names: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):
        for name in (path.name for path in Path(folder).iterdir()):
            for key in {unicodedata.normalize("NFC", name), genre_key(name)}:
                names.setdefault(key, []).append(name)
    return names


def _seconds(column: str, text: str) -> float | None:
    """Parse seconds or a clock time, with a decimal point or comma."""
    if not text:
        return None
    try:
        *clock, rest = text.replace(",", ".").split(":")
        numbers = [float(part) if part.isdecimal() else math.nan for part in clock] + [float(rest)]
    except ValueError:
        numbers = [math.nan]
    if len(numbers) > 3 or not 0 <= numbers[0] < math.inf or not all(0 <= number < 60 for number in numbers[1:]):
        raise UserError(f"expected seconds as {column}, such as 12.5 or 1:02.5. Received: {text!r}")
    return sum(number * 60**power for power, number in enumerate(reversed(numbers)))

"""A list of songs that people write: a CSV, TSV or JSON Lines file with a row for each song or part of a song."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from tumbao.components.ingest.listing import SPLIT_NAMES, Entry, identifier, split_name
from tumbao.components.ingest.places import SCHEMES, Place, is_remote
from tumbao.components.ingest.tables import Table, read_table

COLUMNS: tuple[str, ...] = ("file_name", "genre", "subgenre", "song", "artist", "album", "split", "start", "end")
"""Columns with a meaning; others are kept as they are. `label` may stand for `genre`."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def read_manifest(file: Place) -> list[Entry]:
    """Read a list of songs.

    Parameters
    ----------
    file : Place
        Ends in .csv, .tsv or .jsonl. `file_name` is relative to it, absolute, or begins with gs://. Names of columns
        may be written with capitals, spaces or hyphens.

    Returns
    -------
    entries : list of Entry
        In the order of the rows.

    Raises
    ------
    ValueError
        If `file_name` or `genre` is missing, or a row does not make sense; the message names the line.
    """
    return read_entries(file, root=file.parent, required=("file_name", "genre"))


def read_entries(file: Place, *, root: Place, required: Sequence[str]) -> list[Entry]:
    """Read a list of songs that lies somewhere in a library.

    Parameters
    ----------
    file : Place
        Paths are relative to its folder.
    root : Place
        The library's folder; songs are named by their path below it.
    required : sequence of str
        The columns that have to be there.

    Returns
    -------
    entries : list of Entry
        In the order of the rows.

    Raises
    ------
    ValueError
        If a column is missing or a row does not make sense.
    """
    table = read_table(file)
    columns = dict(zip(COLUMNS, COLUMNS, strict=True))
    if "genre" not in table.columns and "label" in table.columns:
        columns["genre"] = "label"
    _require_columns(file, table, [columns[name] for name in required])
    entries: list[Entry] = []
    first: dict[str, tuple[int, Entry]] = {}
    for line, row in table.rows:
        try:
            entry = _entry(file, root, columns, row)
            extras = {name: row.get(key, "") for key, name in table.columns.items() if key not in columns.values()}
            entry = dataclasses.replace(entry, extras=extras)
            earlier_line, earlier = first.setdefault(entry.song, (line, entry))
            for column in ("genre", "artist", "album"):
                before, here = getattr(earlier, column), getattr(entry, column)
                if before != here:
                    raise ValueError(
                        f"expected the rows of the song {entry.song!r} to name one {column}. Received: {here!r}, but "
                        f"{before!r} in line {earlier_line}. `song` is what parts of one recording share; a title "
                        "that several recordings have belongs into another column, such as `title`."
                    )
        except ValueError as error:
            raise ValueError(f"{file}, line {line}: {error}") from error
        entries.append(entry)
    return entries


def _require_columns(file: Place, table: Table, required: Sequence[str]) -> None:
    missing = [name for name in required if name not in table.columns]
    if not missing:
        return
    hint = ""
    if len(table.columns) == 1 and re.search(r"[;\t,|]", next(iter(table.columns.values()))):
        hint = " The columns seem to be separated by another character: use commas in a .csv, tabs in a .tsv."
    elif similar := difflib.get_close_matches(missing[0], table.columns, 1):
        hint = f" Did you mean {missing[0]} by {table.columns[similar[0]]}?"
    raise ValueError(
        f"Expected the columns {', '.join(required)} in {file} "
        f"(and, if you like, {', '.join(name for name in COLUMNS if name not in required)}). "
        f"Received: {', '.join(table.columns.values())}.{hint}"
    )


def _entry(file: Place, root: Place, columns: dict[str, str], row: dict[str, str]) -> Entry:
    name = row.get("file_name", "")
    remote = is_remote(name)
    if not name.strip() or "\0" in name or (not remote and _ADDRESS.match(name)):
        raise ValueError(
            f"expected a path or an address that begins with {SCHEMES[0]} as file_name. Received: {name!r}"
        )
    path = name if remote else os.path.join(str(file.parent.absolute()), name)  # noqa: PTH118 - keeps a final slash
    known = {meaning: row.get(column, "").strip() for meaning, column in columns.items()}
    split = split_name(known["split"])
    if known["split"] and not split:
        raise ValueError(f"expected a split out of {', '.join(SPLIT_NAMES)}. Received: {known['split']!r}")
    start, end = _seconds("start", known["start"]), _seconds("end", known["end"])
    if end is not None and end <= (start or 0):
        raise ValueError(f"expected an end after the start. Received: start={start}, end={end}")
    return Entry(
        path=path,
        song=row.get("song", "") if known["song"] else identifier(path, root),
        genre=known["genre"],
        subgenre=known["subgenre"],
        artist=known["artist"],
        album=known["album"],
        split=split,
        start_seconds=start,
        end_seconds=end,
        relative=not remote and not Path(name).is_absolute(),
    )


def _seconds(column: str, text: str) -> float | None:
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"expected seconds as {column}, such as 12.5. Received: {text!r}")
    return seconds

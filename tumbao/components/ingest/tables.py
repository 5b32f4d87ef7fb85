"""Tables as people write them: CSV, TSV and JSON Lines in UTF-8, and in which line one of them goes wrong."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from typing import TextIO

from tumbao.components.ingest.places import Place, local_copy

DELIMITERS = {".csv": ",", ".tsv": "\t"}
"""Ending of a file → what stands between its cells."""

EXTENSIONS: tuple[str, ...] = (*DELIMITERS, ".jsonl")
"""Endings of the tables that can be read; the ending decides, not the content."""

Rows = list[tuple[int, dict[str, str]]]
"""The line in which a row begins, from 1, and its cells by column."""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table with named columns.

    Parameters
    ----------
    columns : dict of str to str
        Name in lower case with underscores → name as it is written; a column without a name is left out.
    rows : list of tuple of int and dict
        The line in which each row begins, from 1, and its cells by the names in lower case.
    """

    columns: dict[str, str]
    rows: Rows


def read_table(file: Place) -> Table:
    """Read a table whose columns have names: CSV, TSV or JSON Lines, by the file's ending.

    Parameters
    ----------
    file : Place
        In UTF-8, with or without a byte order mark, with any line ends.

    Returns
    -------
    table : Table
        Without the rows in which every cell is empty.

    Raises
    ------
    ValueError
        If the ending is another, the file cannot be read or is empty, two columns have one name or a row does not fit.
    """
    suffix = file.suffix.lower()
    if suffix not in EXTENSIONS:
        raise ValueError(f"Expected a list of songs that ends in {', '.join(EXTENSIONS)}. Received: {file}")
    table = _lines_of_json(file) if suffix == ".jsonl" else _separated(file, DELIMITERS[suffix])
    if not table.columns:
        raise ValueError(f"Expected a table with named columns in {file}. Received: no columns; is it empty?")
    return table


def read_cells(file: Place, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV or TSV row by row; a file larger than the memory will do.

    Parameters
    ----------
    file : Place
        In UTF-8, quoted as in RFC 4180.
    delimiter : str
        What stands between cells.

    Yields
    ------
    line : int
        Where the row begins, from 1; a quoted cell may span lines.
    cells : list of str
        The row; those in which every cell is empty are left out.

    Raises
    ------
    ValueError
        If the file cannot be read or a quote is not closed.
    """
    with _open_text(file, newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, strict=True)  # or an open quote would swallow all that follows
        line = 1
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise ValueError(
                    f"{file}, line {line}: expected cells with closed quotes, and each quote inside of them doubled. "
                    f"Received: {error}"
                ) from error
            if cells is None:
                return
            if any(cells):
                yield line, cells
            line = reader.line_num + 1


@contextlib.contextmanager
def _open_text(file: Place, newline: str) -> Iterator[TextIO]:
    try:
        with local_copy(file) as local, local.open(encoding="utf-8-sig", newline=newline) as text:
            yield text
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected text in UTF-8 in {file}. Received: the byte 0x{error.object[error.start]:02x} where it has no "
            "meaning. Save the file as UTF-8."
        ) from error
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error


def _separated(file: Place, delimiter: str) -> Table:
    table = read_cells(file, delimiter)
    line, header = next(table, (1, []))
    columns = _columns(file, line, header)
    rows: Rows = []
    for line, cells in table:
        if len(cells) != len(header):
            raise ValueError(
                f"{file}, line {line}: expected {len(header)} cells, one for each column. Received: {len(cells)} "
                f'({", ".join(cells)[:200]}). A cell that holds "{delimiter}" has to stand in double quotes.'
            )
        named = ((_key(name), cell) for name, cell in zip(header, cells, strict=True))
        rows.append((line, {key: cell for key, cell in named if key}))
    return Table(columns, rows)


def _lines_of_json(file: Place) -> Table:
    columns: dict[str, str] = {}
    rows: Rows = []
    with _open_text(file, newline="\n") as text:
        for line, content in enumerate(text, start=1):
            if not content.strip():
                continue
            try:
                value = json.loads(content)
                if not isinstance(value, dict):
                    raise ValueError(f"a {type(value).__name__}")
                cells = {name: _cell(cell) for name, cell in value.items()}
                "".join((*cells, *cells.values())).encode()  # JSON can spell half a character, which nobody can write
            except (ValueError, RecursionError) as error:
                raise ValueError(
                    f'{file}, line {line}: expected one JSON object, {{"file_name": …}}. Received: {error}'
                ) from error
            columns |= {key: name for key, name in _columns(file, line, cells).items() if key not in columns}
            rows.append((line, {_key(name): cell for name, cell in cells.items() if _key(name)}))
    return Table(columns, rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _columns(file: Place, line: int, names: Iterable[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for name in names:
        key = _key(name)
        if key in columns:
            raise ValueError(f"{file}, line {line}: expected each column once. Received: {columns[key]}, {name}")
        if key:
            columns[key] = name.strip()
    return columns


def _key(name: str) -> str:
    return re.sub(r"[\s_-]+", "_", name.strip().lower())

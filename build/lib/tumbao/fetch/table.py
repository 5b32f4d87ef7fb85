"""CSV tables: read with the line of each row, written whole or not at all."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Table:
    """What a CSV file holds.

    Parameters
    ----------
    columns : tuple of str
        The header.
    rows : tuple of (int, tuple of str)
        The line on which a row begins, counted from 1, and its cells. There may be more or fewer than columns.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]


def read_table(path: Path) -> Table:
    """Read a CSV file in UTF-8; empty lines are passed over.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    table : Table
        Its header and its rows.

    Raises
    ------
    ValueError
        If the file cannot be read, is no CSV in UTF-8, has no header, or names a column twice.
    """
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            begins = 1
            for cells in reader:
                if cells:
                    rows.append((begins, tuple(cells)))
                begins = reader.line_num + 1
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Expected a CSV file in UTF-8. Received: {path} ({error}).") from error
    if not rows:
        raise ValueError(f"Expected a CSV file with a header. Received: {path}, which is empty.")
    columns = tuple(name.strip() for name in rows[0][1])
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"Expected each column of {path} once. Received twice: {', '.join(map(repr, twice))}.")
    return Table(columns, tuple(rows[1:]))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[dict[str, str]]) -> None:
    """Write a CSV file beside its place and move it there: a reader sees the old one or the new one.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        The header.
    rows : iterable of dict
        Cells by column; a missing cell is empty.
    """
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)  # its line ends, or it would not quote a carriage return
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)

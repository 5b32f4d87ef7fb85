"""Tables of fetch: those that `tables.read_table` reads, with the column names as written in the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tumbao.components.ingest import tables


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    `rows` holds the line on which each row begins, counted from 1, and its cells by column. `faults` maps the line of
    each row that cannot be read to the error.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    faults: dict[int, str]


def read_table(path: Path, known: tuple[str, ...]) -> Table:
    """Read a table without its empty rows.

    Columns in `known` are found in any spelling; others keep theirs. Raises ValueError if the file cannot be read, has
    no header, or repeats a column.
    """
    found = tables.read_table(path, known)
    names = {key: key if key in known else name for key, name in found.columns.items()}
    rows = ((line, {name: cells.get(key, "") for key, name in names.items()}) for line, cells in found.rows)
    return Table(tuple(names.values()), tuple(rows), found.faults)

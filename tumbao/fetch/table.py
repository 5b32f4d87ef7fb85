"""Tables of fetch: any that `tables.read_table` reads, with the names of columns as they are written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tumbao.components.ingest import tables


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Parameters
    ----------
    columns : tuple of str
        The header.
    rows : tuple of (int, dict of str to str)
        The line on which a row begins, counted from 1, and its cells by column.
    faults : dict of int to str
        The line of each row that cannot be read → what is wrong with it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    faults: dict[int, str]


def read_table(path: Path, known: tuple[str, ...]) -> Table:
    """Read a table; rows without any text are passed over.

    Parameters
    ----------
    path : Path
        The file, see `tables.read_table`.
    known : tuple of str
        Columns that are found in any spelling. Others keep theirs.

    Returns
    -------
    table : Table
        Its header and its rows.

    Raises
    ------
    ValueError
        If the file cannot be read, has no header, or names a column twice.
    """
    found = tables.read_table(path, known)
    names = {key: key if key in known else name for key, name in found.columns.items()}
    rows = ((line, {name: cells.get(key, "") for key, name in names.items()}) for line, cells in found.rows)
    return Table(tuple(names.values()), tuple(rows), found.faults)

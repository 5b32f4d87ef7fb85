"""Tables of fetch: a row need not have as many cells as there are columns."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tumbao.components.ingest.tables import read_cells
from tumbao.schema.errors import UserError


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
    """Read a CSV file; rows without any text are passed over.

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
        If the file cannot be read, has no header, or names a column twice.
    """
    rows = [(line, tuple(cells)) for line, cells in read_cells(path, ",")]
    if not rows:
        raise UserError(f"Expected a CSV file with a header. Received: {path}, which is empty.")
    columns = tuple(name.strip() for name in rows[0][1])
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise UserError(f"Expected each column of {path} once. Received twice: {', '.join(map(repr, twice))}.")
    return Table(columns, tuple(rows[1:]))

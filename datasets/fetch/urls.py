"""URLS.csv, the list of songs to fetch, one in each row."""

from __future__ import annotations

import dataclasses
import urllib.parse
from pathlib import Path

from tumbao.datasets.fetch.manifest import FAILED_COLUMNS, MANIFEST_COLUMNS, OWN_COLUMNS, read_table
from tumbao.schema.errors import UserError

REQUIRED = ("url", "genre")


@dataclasses.dataclass(frozen=True)
class UrlRow:
    """One row of URLS.csv, which begins at `line` (from 1).

    `cells` are without surrounding white space. `error` is the reason why the row cannot be fetched, or empty.
    """

    line: int
    cells: dict[str, str]
    error: str

    @property
    def url(self) -> str:
        """URL of the song."""
        return self.cells["url"]

    @property
    def genre(self) -> str:
        """Genre of the song."""
        return self.cells["genre"]


@dataclasses.dataclass(frozen=True)
class UrlList:
    """URLS.csv: the header without the columns of failed.csv, and all rows, including those that cannot be fetched."""

    columns: tuple[str, ...]
    rows: tuple[UrlRow, ...]


def read_urls(path: Path) -> UrlList:
    """Read URLS.csv: columns `url` and `genre`; `song`, `artist`, `album`, `licence` and any others are optional.

    Rows that cannot be used are kept, with their `error`. Raises ValueError if the file has another format, has no
    rows, or has columns that fetch writes itself.
    """
    table = read_table(path, ("url", *MANIFEST_COLUMNS, *FAILED_COLUMNS))
    if missing := [name for name in REQUIRED if name not in table.columns]:
        raise UserError(
            f"Expected the columns url and genre in {path}. Received: {', '.join(table.columns)}; "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )
    if taken := [name for name in OWN_COLUMNS if name in table.columns]:
        raise UserError(f"fetch writes the columns {', '.join(taken)} itself. Rename those of {path}.")
    if not table.rows and not table.faults:
        raise UserError(f"Expected a row for each song in {path}. Received: a header only.")
    columns = tuple(name for name in table.columns if name not in FAILED_COLUMNS)
    rows = {line: UrlRow(line, dict.fromkeys(columns, ""), fault) for line, fault in table.faults.items()}
    for line, row in table.rows:
        cells = {name: row[name].strip() for name in columns}
        rows[line] = UrlRow(line, cells, _error(cells))
    return UrlList(columns, tuple(row for _, row in sorted(rows.items())))


def _error(cells: dict[str, str]) -> str:
    if empty := [name for name in REQUIRED if not cells[name]]:
        return f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty"
    try:
        address = urllib.parse.urlsplit(cells["url"])
        if address.scheme.lower() in {"http", "https"} and address.hostname:
            return ""
    except ValueError as error:  # from urlsplit
        return f"this is not an address: {error}"
    return "expected an address that begins with http:// or https://"

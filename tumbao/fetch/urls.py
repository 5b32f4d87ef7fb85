"""What is wanted: URLS.csv, a row for each song."""

from __future__ import annotations

import dataclasses
import urllib.parse
from pathlib import Path

from tumbao.errors import UserError
from tumbao.fetch.ledger import FAILED_COLUMNS, MANIFEST_COLUMNS, OWN_COLUMNS
from tumbao.fetch.table import read_table

REQUIRED = ("url", "genre")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One row of URLS.csv.

    Parameters
    ----------
    line : int
        Where it begins, counted from 1.
    cells : dict
        Its cells by column, without white space around them.
    trouble : str
        Why it cannot be fetched, empty where it can.
    """

    line: int
    cells: dict[str, str]
    trouble: str

    @property
    def url(self) -> str:
        """Where the song is."""
        return self.cells["url"]

    @property
    def genre(self) -> str:
        """What it is."""
        return self.cells["genre"]


@dataclasses.dataclass(frozen=True)
class UrlList:
    """URLS.csv, read.

    Parameters
    ----------
    columns : tuple of str
        Its header, without the columns that failed.csv adds.
    rows : tuple of Wanted
        All its rows, also those that cannot be fetched.
    """

    columns: tuple[str, ...]
    rows: tuple[Wanted, ...]


def read_urls(path: Path) -> UrlList:
    """Read what is wanted.

    Parameters
    ----------
    path : Path
        A table (see `tables.read_table`) with the columns `url` and `genre`; `song`, `artist`, `album`, `licence` and
        any others are optional.

    Returns
    -------
    urls : UrlList
        A row that cannot be used is kept, with its trouble.

    Raises
    ------
    ValueError
        If this is no such file, has no rows, or has columns that fetch writes itself.
    """
    table = read_table(path, ("url", *MANIFEST_COLUMNS, *FAILED_COLUMNS))
    if missing := [name for name in REQUIRED if name not in table.columns]:
        raise UserError(
            f"Expected the columns url and genre in {path}. Received: {', '.join(table.columns)}; "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing."
        )
    if taken := [name for name in OWN_COLUMNS if name in table.columns]:
        raise UserError(f"The manifest has columns {', '.join(taken)} of its own. Rename those of {path}.")
    if not table.rows and not table.faults:
        raise UserError(f"Expected a row for each song in {path}. Received: a header only.")
    columns = tuple(name for name in table.columns if name not in FAILED_COLUMNS)
    wanted = {line: Wanted(line, dict.fromkeys(columns, ""), fault) for line, fault in table.faults.items()}
    for line, row in table.rows:
        cells = {name: row[name].strip() for name in columns}
        wanted[line] = Wanted(line, cells, _trouble(cells))
    return UrlList(columns, tuple(row for _, row in sorted(wanted.items())))


def _trouble(named: dict[str, str]) -> str:
    if empty := [name for name in REQUIRED if not named[name]]:
        return f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty"
    try:
        address = urllib.parse.urlsplit(named["url"])
        if address.scheme.lower() in {"http", "https"} and address.hostname:
            return ""
    except ValueError as error:  # of urlsplit
        return f"this is no address: {error}"
    return "expected an address that begins with http:// or https://"

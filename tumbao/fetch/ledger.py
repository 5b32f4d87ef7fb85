"""What was fetched and what failed: manifest.csv and failed.csv, true at every moment."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from tumbao.components.ingest.tables import write_csv
from tumbao.components.ingest.whole_folder import write_whole
from tumbao.errors import UserError
from tumbao.fetch.names import numbered, safe_name
from tumbao.fetch.table import read_table

MANIFEST_FILE, FAILED_FILE = "manifest.csv", "failed.csv"

OWN_COLUMNS = ("file_name", "source", "extractor", "sha256", "bytes", "fetched_at")
"""Columns of the manifest that fetch fills itself."""

MANIFEST_COLUMNS = (
    *("file_name", "genre", "song", "artist", "album"),
    *("source", "extractor", "licence", "sha256", "bytes", "fetched_at"),
)
"""They stand first; further columns of URLS.csv follow."""

FAILED_COLUMNS = ("line", "reason")
"""What failed.csv adds to the columns of URLS.csv."""


class Ledger:
    """The books of one folder. One process at a time keeps them.

    Parameters
    ----------
    folder : Path
        Where songs are fetched to; it is made if need be.

    Raises
    ------
    ValueError
        If another process is fetching to the folder, or if its manifest is none of fetch's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Expected a folder to fetch to. Received: {folder} ({error.strerror}).") from error
        self._lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._columns, self._rows = self._read()
        except BlockingIOError as error:
            os.close(self._lock)
            raise UserError(
                f"Another `tumbao fetch` is writing to {folder}. Wait for it, or fetch elsewhere."
            ) from error
        except ValueError:
            os.close(self._lock)
            raise
        self._places = {row["source"]: place for place, row in enumerate(self._rows)}
        self._claimed = {row["file_name"] for row in self._rows}
        self._failed: list[dict[str, str]] = []
        (folder / FAILED_FILE).unlink(missing_ok=True)

    def __enter__(self) -> Ledger:
        """Keep the folder for this process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let other processes write to the folder."""
        os.close(self._lock)

    def find(self, url: str) -> dict[str, str] | None:
        """Look a song up.

        Parameters
        ----------
        url : str
            Its source.

        Returns
        -------
        row : dict or None
            Its row of the manifest, None where there is none.
        """
        place = self._places.get(url)
        return None if place is None else dict(self._rows[place])

    def intact(self, row: dict[str, str]) -> bool:
        """Tell whether a song's file is what was fetched.

        Parameters
        ----------
        row : dict
            Of the manifest.

        Returns
        -------
        intact : bool
            The file is there, with the size and the hash of the row.
        """
        path = self.folder / row["file_name"]
        return path.is_file() and str(path.stat().st_size) == row["bytes"] and sha256(path) == row["sha256"]

    def admit(self, path: Path, stem: str, ending: str, row: dict[str, str]) -> None:
        """Move a complete file to its genre's folder and write its row.

        Another song's file is never overwritten. A file that no row claims is taken over if it has the same bytes:
        an earlier run was killed between the two steps.

        Parameters
        ----------
        path : Path
            The file, on the same file system.
        stem : str
            How to name it, of `safe_name`; a number is added where the name is taken.
        ending : str
            The same for its ending, without the dot.
        row : dict
            Columns of the manifest but `file_name`, `sha256` and `bytes`.
        """
        before = self.find(row["source"])
        replaced = before["file_name"] if before else ""
        genre = safe_name(row["genre"])
        digest = sha256(path)
        for name in numbered(stem, ending):
            file_name = f"{genre}/{name}"
            target = self.folder / file_name
            if file_name == replaced or not os.path.lexists(target):
                break
            if file_name not in self._claimed and target.is_file() and sha256(target) == digest:
                break
        size = path.stat().st_size
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        self.record({**row, "file_name": file_name, "sha256": digest, "bytes": str(size)})

    def record(self, row: dict[str, str]) -> None:
        """Write a row of the manifest in the place of the one with the same source, or as the last.

        Parameters
        ----------
        row : dict
            Cells by column; a new column is added to the manifest.
        """
        if row == self.find(row["source"]):
            return
        self._columns += [name for name in row if name not in self._columns]
        place = self._places.setdefault(row["source"], len(self._rows))
        self._rows[place : place + 1] = [row]
        self._claimed.add(row["file_name"])
        write_whole(self.folder / MANIFEST_FILE, write_csv(self._columns, self._rows).encode())

    def fail(self, columns: Sequence[str], cells: dict[str, str], line: int, reason: str) -> None:
        """Write a row of failed.csv, which is itself a list of what to fetch.

        Parameters
        ----------
        columns : sequence of str
            The columns of URLS.csv.
        cells : dict
            The row of URLS.csv.
        line : int
            Where the row begins there, counted from 1.
        reason : str
            Why the song could not be fetched.
        """
        self._failed.append({**cells, "line": str(line), "reason": reason})
        write_whole(self.folder / FAILED_FILE, write_csv((*columns, *FAILED_COLUMNS), self._failed).encode())

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        path = self.folder / MANIFEST_FILE
        if not path.exists():
            return list(MANIFEST_COLUMNS), []
        table = read_table(path, MANIFEST_COLUMNS)
        if missing := [name for name in MANIFEST_COLUMNS if name not in table.columns]:
            raise UserError(
                f"Expected the manifest of an earlier `tumbao fetch` in {path}. "
                f"Received: one without {', '.join(missing)}. Fetch to another folder."
            )
        empty = "expected a source. Received: none"
        faults = {line: empty for line, row in table.rows if not row["source"]} | table.faults
        for line, fault in faults.items():
            raise UserError(f"{path}, line {line}: {fault}. Mend the row, or fetch to another folder.")
        return list(table.columns), [row for _, row in table.rows]


def sha256(path: Path) -> str:
    """Hash a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    digest : str
        SHA-256 of its bytes, hexadecimal.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

"""Manifest of fetched songs (manifest.csv) and list of failures (failed.csv), written after each song."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import itertools
import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from tumbao.components.ingest import tables
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.schema.errors import UserError

MANIFEST_FILE, FAILED_FILE = "manifest.csv", "failed.csv"

OWN_COLUMNS = ("file_name", "source", "extractor", "sha256", "bytes", "fetched_at")
"""Columns of the manifest that fetch fills itself."""

MANIFEST_COLUMNS = (
    *("file_name", "genre", "song", "artist", "album"),
    *("source", "extractor", "licence", "sha256", "bytes", "fetched_at"),
)
"""First columns of the manifest; further columns of URLS.csv follow."""

FAILED_COLUMNS = ("line", "reason")
"""Columns that failed.csv adds to those of URLS.csv."""

MAX_NAME_BYTES = 200
"""Leaves room for a number and an extension below the 255 bytes of most file systems."""

_UNSAFE = re.compile(r'[<>:"/\\|?*]')
_INVISIBLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, halves of surrogate pairs, line and paragraph separators."""


def clean_text(text: str) -> str:
    """Convert a text to one line in Unicode's composed form (NFC) that every file can hold."""
    visible = "".join(" " if unicodedata.category(char) in _INVISIBLE else char for char in text)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def safe_name(text: str) -> str:
    """Convert a title to one part of a path, of 1 to `MAX_NAME_BYTES` bytes of UTF-8."""
    name = _UNSAFE.sub("_", clean_text(text)).strip(". ")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip(". ")
    return name or "untitled"


def read_table(path: Path, known: Collection[str]) -> tables.Table:
    """Read a table without its empty rows; columns in `known` are found in any spelling, others keep theirs."""
    found = tables.read_table(path, known)
    names = {key: key if key in known else name for key, name in found.columns.items()}
    rows = [(line, {name: cells.get(key, "") for key, name in names.items()}) for line, cells in found.rows]
    return dataclasses.replace(found, columns={name: name for name in names.values()}, rows=rows)


class Manifest:
    """Manifest and list of failures of a folder, which is created if missing and locked for one process at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Expected a folder to fetch to. Received: {folder} ({error.strerror}).") from error
        with contextlib.ExitStack() as stack:
            lock = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"Another `tumbao fetch` is writing to {folder}. Wait until it ends, or fetch to another folder."
                ) from error
            self._columns, self._rows = _read_manifest(folder / MANIFEST_FILE)
            self._lock = stack.pop_all()  # until the end of the context
        self._failed: list[dict[str, str]] = []
        (folder / FAILED_FILE).unlink(missing_ok=True)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock on the folder."""
        self._lock.close()

    def find(self, url: str) -> dict[str, str] | None:
        """Return the manifest row of a source, or None."""
        return self._rows.get(url)

    def is_intact(self, row: dict[str, str]) -> bool:
        """Check that the file of a row exists, with the size and the hash of the row."""
        path = self.folder / row["file_name"]
        return path.is_file() and str(path.stat().st_size) == row["bytes"] and sha256(path) == row["sha256"]

    def add(self, path: Path, stem: str, extension: str, row: dict[str, str]) -> None:
        """Move a complete file to its genre's folder, with a number if another song has its name, and write its row."""
        before = self.find(row["source"])
        replaced = before["file_name"] if before else ""
        digest = sha256(path)
        listed = {one["file_name"] for one in self._rows.values()}
        for number in itertools.count(1):
            file_name = f"{safe_name(row['genre'])}/{stem}{f' ({number})' * (number > 1)}.{extension}"
            target = self.folder / file_name
            if file_name == replaced or not os.path.lexists(target):
                break
            if file_name not in listed and target.is_file() and sha256(target) == digest:
                break
        size = path.stat().st_size
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        self.record({**row, "file_name": file_name, "sha256": digest, "bytes": str(size)})

    def record(self, row: dict[str, str]) -> None:
        """Write a row of the manifest, which replaces the one with the same source; add new columns."""
        if row == self.find(row["source"]):
            return
        self._columns += [name for name in row if name not in self._columns]
        self._rows[row["source"]] = row
        write_whole(self.folder / MANIFEST_FILE, tables.write_csv(self._columns, self._rows.values()).encode())

    def fail(self, columns: Sequence[str], cells: dict[str, str], line: int, reason: str) -> None:
        """Add a row to failed.csv, which fetch can read again; `line` is its line in URLS.csv, from 1."""
        self._failed.append({**cells, "line": str(line), "reason": reason})
        write_whole(self.folder / FAILED_FILE, tables.write_csv((*columns, *FAILED_COLUMNS), self._failed).encode())


def _read_manifest(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the columns, and the rows by source."""
    if not path.exists():
        return list(MANIFEST_COLUMNS), {}
    table = read_table(path, MANIFEST_COLUMNS)
    if missing := [name for name in MANIFEST_COLUMNS if name not in table.columns]:
        raise UserError(
            f"Expected the manifest of an earlier `tumbao fetch` in {path}. "
            f"Received: one without {', '.join(missing)}. Fetch to another folder."
        )
    empty = "expected a source. Received: none"
    faults = {line: empty for line, row in table.rows if not row["source"]} | table.faults
    for line, fault in faults.items():
        raise UserError(f"{path}, line {line}: {fault}. Correct the row, or fetch to another folder.")
    return list(table.columns), {row["source"]: row for _, row in table.rows}


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

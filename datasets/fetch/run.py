"""`tumbao fetch`: each row of URLS.csv gets a file and a row in manifest.csv, or a row in failed.csv."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import hashlib
import importlib.util
import itertools
import os
import re
import time
import urllib.parse
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from tumbao.components.ingest import progress, tables
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.os_compat import lock
from tumbao.datasets.fetch.source import FetchError, RateLimits, clean_text, download
from tumbao.schema.errors import UserError

MANIFEST_FILE, FAILED_FILE = "manifest.csv", "failed.csv"

UNFINISHED_FOLDER = ".unfinished"
"""Folder of incomplete songs; hidden, so that no other command reads them."""

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

FETCHED, PRESENT, FAILED = "fetched", "already there", "failed"


class UrlRow(NamedTuple):
    """One row of URLS.csv, which begins at `line`; `error` is the reason why it cannot be fetched, or empty."""

    line: int
    cells: dict[str, str]
    error: str


def read_urls(path: Path) -> tuple[tuple[str, ...], list[UrlRow]]:
    """Read URLS.csv: columns `url` and `genre`; `song`, `artist`, `album`, `licence` and any others are optional."""
    table = _read_table(path, ("url", *MANIFEST_COLUMNS, *FAILED_COLUMNS))
    if not {"url", "genre"} <= table.columns.keys():
        raise UserError(f"Expected the columns url and genre in {path}. Received: {', '.join(table.columns)}.")
    if taken := [name for name in OWN_COLUMNS if name in table.columns]:
        raise UserError(f"fetch writes the columns {', '.join(taken)} itself. Rename those of {path}.")
    if not table.rows and not table.faults:
        raise UserError(f"Expected a row for each song in {path}. Received: a header only.")
    columns = tuple(name for name in table.columns if name not in FAILED_COLUMNS)
    rows = [UrlRow(line, dict.fromkeys(columns, ""), fault) for line, fault in table.faults.items()]
    for line, row in table.rows:
        cells = {name: row[name].strip() for name in columns}
        rows.append(UrlRow(line, cells, _error(cells)))
    return columns, sorted(rows, key=lambda row: row.line)


def _error(cells: dict[str, str]) -> str:
    if empty := [name for name in ("url", "genre") if not cells[name]]:
        return f"the row has no {' and no '.join(empty)}"
    try:
        address = urllib.parse.urlsplit(cells["url"])
    except ValueError as error:
        return f"this is not an address: {error}"
    if address.scheme.lower() in {"http", "https"} and address.hostname:
        return ""
    return "expected an address that begins with http:// or https://"


def _read_table(path: Path, known: Collection[str]) -> tables.Table:
    """Read a table without its empty rows; columns in `known` are found in any spelling, others keep theirs."""
    found = tables.read_table(path, known)
    names = {key: key if key in known else name for key, name in found.columns.items()}
    rows = [(line, {name: cells.get(key, "") for key, name in names.items()}) for line, cells in found.rows]
    return dataclasses.replace(found, columns={name: name for name in names.values()}, rows=rows)


def run_fetch(
    urls: Path,
    out: Path,
    console: Console,
    limits: RateLimits,
    report: progress.Listener = progress.report,
) -> int:
    """Fetch songs, one at a time; return 0 if all rows have their songs, 1 if some failed or `out` is not writable."""
    if not importlib.util.find_spec("yt_dlp"):
        raise UserError('yt-dlp is not installed. Run `pip install "tumbao[fetch]"`.')
    if urls.absolute() == (out / FAILED_FILE).absolute():
        raise UserError(f"Each run overwrites {out / FAILED_FILE}. Copy it to another folder, and fetch the copy.")
    if os.path.expandvars(out.absolute()) != str(out.absolute()):
        raise UserError(f"Expected a path without environment variables, which yt-dlp would expand. Received: {out}.")
    columns, rows = read_urls(urls)
    counts: collections.Counter[str] = collections.Counter()
    has_requested = False
    with open_manifest(out) as manifest:
        try:
            report("fetch", 0, len(rows))
            for row in rows:
                try:
                    if _is_present(manifest, row):
                        counts[PRESENT] += 1
                    else:
                        if has_requested:
                            time.sleep(limits.sleep_seconds)
                        has_requested = True
                        _fetch(manifest, row, limits, report)
                        counts[FETCHED] += 1
                except (FetchError, OSError) as error:
                    reason = clean_text(str(error))
                    manifest.fail(columns, row, reason)
                    counts[FAILED] += 1
                    _print(console, f"  line {row.line}: {clean_text(row.cells['url'])}: {reason}")
                report("fetch", counts.total(), len(rows))
        except OSError as error:
            _print(console, f"stopped, because the manifest or the list of failures cannot be written: {error}")
            return 1
        finally:
            _print(console, _summary(counts, len(rows), out))
    return 1 if counts[FAILED] else 0


def _is_present(manifest: Manifest, row: UrlRow) -> bool:
    """Tell whether the song of a row is there, unchanged; changed cells then go into the manifest."""
    if row.error:
        raise FetchError(row.error)
    before = manifest.rows.get(row.cells["url"])
    if before is None:
        return False
    if before["genre"] != row.cells["genre"]:
        raise FetchError(
            f"the manifest lists it as {before['genre']}: {before['file_name']}; "
            "remove that row and that file to fetch it for another genre"
        )
    file = manifest.folder / before["file_name"]
    if not file.is_file() or _sha256(file) != before["sha256"]:
        return False
    manifest.record({**before, **_filled(row.cells)})
    return True


def _filled(cells: dict[str, str]) -> dict[str, str]:
    """Return the cells with a text, except the address, which is the column `source` in the manifest."""
    return {name: text for name, text in cells.items() if text and name != "url"}


def _fetch(manifest: Manifest, row: UrlRow, limits: RateLimits, report: progress.Listener) -> None:
    url = row.cells["url"]
    before = {name: text for name, text in manifest.rows.get(url, {}).items() if name not in OWN_COLUMNS}
    unfinished = manifest.folder / UNFINISHED_FOLDER
    unfinished.mkdir(exist_ok=True)
    try:
        found = download(url, unfinished, limits, report)
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = {**row.cells, **found.metadata, "fetched_at": now, **_filled(before), **_filled(row.cells)}
        entry["source"] = entry.pop("url")
        name = f"{entry['artist']} - {entry['song']}" if entry["artist"] else entry["song"]
        manifest.add(found.path, safe_name(name), found.extension, entry)
    finally:
        with contextlib.suppress(OSError):  # not empty if it holds unfinished songs
            unfinished.rmdir()


def _summary(counts: collections.Counter[str], found: int, out: Path) -> str:
    parts = [f"{outcome} {counts[outcome]}" for outcome in (FETCHED, PRESENT, FAILED)]
    if not_tried := found - counts.total():
        parts.append(f"not tried {not_tried}")
    failed = f"; reasons in {out / FAILED_FILE}" if counts[FAILED] else ""
    manifest = f"; manifest in {out / MANIFEST_FILE}" if (out / MANIFEST_FILE).exists() else ""
    return f"found {found} = {' + '.join(parts)}{manifest}{failed}"


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True, emoji=False)


class Manifest:
    """Manifest and list of failures of a folder, written after each song; `rows` are by source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._columns, self.rows = _read_manifest(folder / MANIFEST_FILE)
        self._failed: list[dict[str, str]] = []
        (folder / FAILED_FILE).unlink(missing_ok=True)

    def add(self, path: Path, stem: str, extension: str, row: dict[str, str]) -> None:
        """Move a complete file to its genre's folder, with a number if another song has its name, and write its row."""
        replaced = self.rows.get(row["source"], {}).get("file_name")
        digest = _sha256(path)
        listed = {one["file_name"] for one in self.rows.values()}
        for number in itertools.count(1):
            file_name = f"{safe_name(row['genre'])}/{stem}{f' ({number})' * (number > 1)}.{extension}"
            target = self.folder / file_name
            if file_name == replaced or not os.path.lexists(target):
                break
            if file_name not in listed and target.is_file() and _sha256(target) == digest:
                break
        size = path.stat().st_size
        target.parent.mkdir(exist_ok=True)
        path.replace(target)
        self.record({**row, "file_name": file_name, "sha256": digest, "bytes": str(size)})

    def record(self, row: dict[str, str]) -> None:
        """Write a row of the manifest, which replaces the one with the same source; add new columns."""
        if row == self.rows.get(row["source"]):
            return
        self._columns += [name for name in row if name not in self._columns]
        self.rows[row["source"]] = row
        write_whole(self.folder / MANIFEST_FILE, tables.write_csv(self._columns, self.rows.values()).encode())

    def fail(self, columns: Sequence[str], row: UrlRow, reason: str) -> None:
        """Add a row of URLS.csv to failed.csv, which fetch can read again."""
        self._failed.append({**row.cells, "line": str(row.line), "reason": reason})
        write_whole(self.folder / FAILED_FILE, tables.write_csv((*columns, *FAILED_COLUMNS), self._failed).encode())


@contextlib.contextmanager
def open_manifest(folder: Path) -> Iterator[Manifest]:
    """Open the manifest of a folder, which is created if missing and locked for one process at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Expected a folder to fetch to. Received: {folder} ({error.strerror}).") from error
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            lock(descriptor)
        except BlockingIOError as error:
            raise UserError(
                f"Another `tumbao fetch` is writing to {folder}. Wait until it ends, or fetch to another folder."
            ) from error
        yield Manifest(folder)
    finally:
        os.close(descriptor)


def _read_manifest(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return the columns, and the rows by source."""
    if not path.exists():
        return list(MANIFEST_COLUMNS), {}
    table = _read_table(path, MANIFEST_COLUMNS)
    if missing := [name for name in MANIFEST_COLUMNS if name not in table.columns]:
        raise UserError(
            f"Expected the manifest of an earlier `tumbao fetch` in {path}. "
            f"Received: one without {', '.join(missing)}. Fetch to another folder."
        )
    empty = {line: "expected a source. Received: none" for line, row in table.rows if not row["source"]}
    for line, fault in (empty | table.faults).items():
        raise UserError(f"{path}, line {line}: {fault}. Correct the row, or fetch to another folder.")
    return list(table.columns), {row["source"]: row for _, row in table.rows}


def safe_name(text: str) -> str:
    """Convert a title to one part of a path, of 1 to `MAX_NAME_BYTES` bytes of UTF-8."""
    name = re.sub(r'[<>:"/\\|?*]', "_", clean_text(text)).strip(". ")
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip(". ") or "untitled"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

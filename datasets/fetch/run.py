"""`tumbao fetch`: each row of URLS.csv gets a file and a row in the manifest, or a row in failed.csv."""

from __future__ import annotations

import collections
import contextlib
import datetime
import importlib.util
import os
import time
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from tumbao.components.ingest import progress
from tumbao.datasets.fetch.manifest import (
    FAILED_COLUMNS,
    FAILED_FILE,
    MANIFEST_COLUMNS,
    MANIFEST_FILE,
    OWN_COLUMNS,
    Manifest,
    clean_text,
    read_table,
    safe_name,
)
from tumbao.datasets.fetch.source import FetchError, RateLimits, download
from tumbao.schema.errors import UserError

UNFINISHED_FOLDER = ".unfinished"
"""Folder of incomplete songs; hidden, so that no other command reads them."""

FETCHED, PRESENT, FAILED = "fetched", "already there", "failed"


class UrlRow(NamedTuple):
    """One row of URLS.csv, which begins at `line`; `error` is the reason why it cannot be fetched, or empty."""

    line: int
    cells: dict[str, str]
    error: str


def read_urls(path: Path) -> tuple[tuple[str, ...], list[UrlRow]]:
    """Read URLS.csv: columns `url` and `genre`; `song`, `artist`, `album`, `licence` and any others are optional."""
    table = read_table(path, ("url", *MANIFEST_COLUMNS, *FAILED_COLUMNS))
    if missing := [name for name in ("url", "genre") if name not in table.columns]:
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
    return columns, [row for _, row in sorted(rows.items())]


def _error(cells: dict[str, str]) -> str:
    if empty := [name for name in ("url", "genre") if not cells[name]]:
        return f"{' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty"
    try:
        address = urllib.parse.urlsplit(cells["url"])
        if address.scheme.lower() in {"http", "https"} and address.hostname:
            return ""
    except ValueError as error:  # from urlsplit
        return f"this is not an address: {error}"
    return "expected an address that begins with http:// or https://"


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
    with Manifest(out) as manifest:
        try:
            fetcher = _Fetcher(manifest, limits, report)
            report("fetch", 0, len(rows))
            for row in rows:
                try:
                    counts[fetcher.run(row)] += 1
                except (FetchError, OSError) as error:
                    reason = clean_text(str(error))
                    manifest.fail(columns, row.cells, row.line, reason)
                    counts[FAILED] += 1
                    _print(console, f"  line {row.line}: {clean_text(row.cells['url'])}: {reason}")
                report("fetch", counts.total(), len(rows))
        except OSError as error:
            _print(console, f"stopped, because the manifest or the list of failures cannot be written: {error}")
            return 1
        finally:
            _print(console, _summary(counts, len(rows), out))
    return 1 if counts[FAILED] else 0


class _Fetcher:
    """Processes one row after the other, with pauses between those that need the network."""

    def __init__(self, manifest: Manifest, limits: RateLimits, report: progress.Listener) -> None:
        self._manifest = manifest
        self._limits = limits
        self._report = report
        self._unfinished = manifest.folder / UNFINISHED_FOLDER
        self._has_requested = False

    def run(self, row: UrlRow) -> str:
        if row.error:
            raise FetchError(row.error)
        before = self._manifest.find(row.cells["url"])
        if before and before["genre"] != row.cells["genre"]:
            raise FetchError(
                f"the manifest lists it as {before['genre']}: {before['file_name']}; "
                "remove that row and that file to fetch it for another genre"
            )
        previous = {name: text for name, text in (before or {}).items() if text and name not in OWN_COLUMNS}
        cells = {**previous, **{name: text for name, text in row.cells.items() if text and name != "url"}}
        if before and self._manifest.is_intact(before):
            self._manifest.record({**before, **cells})
            return PRESENT
        if self._has_requested:
            time.sleep(self._limits.sleep_seconds)
        self._has_requested = True
        self._fetch(row, cells)
        return FETCHED

    def _fetch(self, row: UrlRow, cells: dict[str, str]) -> None:
        self._unfinished.mkdir(exist_ok=True)
        try:
            found = download(row.cells["url"], self._unfinished, self._limits, self._report)
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            entry = {**row.cells, **found.metadata, "fetched_at": now, **cells, "source": row.cells["url"]}
            del entry["url"]
            name = f"{entry['artist']} - {entry['song']}" if entry["artist"] else entry["song"]
            self._manifest.add(found.path, safe_name(name), found.extension, entry)
        finally:
            with contextlib.suppress(OSError):  # not empty if it holds unfinished songs
                self._unfinished.rmdir()


def _summary(counts: collections.Counter[str], found: int, out: Path) -> str:
    parts = [f"{outcome} {counts[outcome]}" for outcome in (FETCHED, PRESENT, FAILED)]
    if not_tried := found - counts.total():
        parts.append(f"not tried {not_tried}")
    failed = f"; reasons in {out / FAILED_FILE}" if counts[FAILED] else ""
    manifest = f"; manifest in {out / MANIFEST_FILE}" if (out / MANIFEST_FILE).exists() else ""
    return f"found {found} = {' + '.join(parts)}{manifest}{failed}"


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True, emoji=False)

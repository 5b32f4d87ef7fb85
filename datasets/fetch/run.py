"""`tumbao fetch`: download the songs of a list.

Each row of the list gets a file and a row in the manifest, or a row in failed.csv.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import time
from pathlib import Path

from rich.console import Console

from tumbao.components.ingest import progress
from tumbao.datasets.fetch.manifest import FAILED_FILE, MANIFEST_FILE, OWN_COLUMNS, Manifest
from tumbao.datasets.fetch.names import clean_text, safe_name
from tumbao.datasets.fetch.source import Download, FetchError, RateLimits, download, require_yt_dlp
from tumbao.datasets.fetch.urls import UrlRow, read_urls
from tumbao.schema.errors import UserError

UNFINISHED_FOLDER = ".unfinished"
"""Folder of incomplete songs; hidden, so that no other command reads them."""

FETCHED, PRESENT, FAILED = "fetched", "already there", "failed"


def run_fetch(
    urls: Path,
    out: Path,
    console: Console,
    report: progress.Listener = progress.report,
    limits: RateLimits | None = None,
) -> int:
    """Fetch songs, one at a time; return 0 if all rows have their songs, 1 if some failed or `out` is not writable.

    Songs are written to ``<genre>/<name>.<extension>`` in `out`, with `manifest.csv` and the `failed.csv` of this run.
    Raises ValueError if the list or the folder cannot be used, or if yt-dlp is not installed.
    """
    require_yt_dlp()
    if urls.absolute() == (out / FAILED_FILE).absolute():
        raise UserError(f"Each run overwrites {out / FAILED_FILE}. Copy it to another folder, and fetch the copy.")
    if os.path.expandvars(out.absolute()) != str(out.absolute()):
        raise UserError(f"Expected a path without environment variables, which yt-dlp would expand. Received: {out}.")
    url_list = read_urls(urls)
    counts: collections.Counter[str] = collections.Counter()
    with Manifest(out) as manifest:
        try:
            fetcher = _Fetcher(manifest, limits or RateLimits(), report)
            report("fetch", 0, len(url_list.rows))
            for row in url_list.rows:
                try:
                    counts[fetcher.run(row)] += 1
                except (FetchError, OSError) as error:
                    reason = clean_text(str(error))
                    manifest.fail(url_list.columns, row.cells, row.line, reason)
                    counts[FAILED] += 1
                    _print(console, f"  line {row.line}: {clean_text(row.url)}: {reason}")
                report("fetch", counts.total(), len(url_list.rows))
        except OSError as error:
            _print(console, f"stopped, because the manifest or the list of failures cannot be written: {error}")
            return 1
        finally:
            _print(console, _summary(counts, len(url_list.rows), out))
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
        before = self._manifest.find(row.url)
        if before and before["genre"] != row.genre:
            raise FetchError(
                f"the manifest lists it as {before['genre']}: {before['file_name']}; "
                "remove that row and that file to fetch it for another genre"
            )
        previous = {name: text for name, text in (before or {}).items() if text and name not in OWN_COLUMNS}
        cells = {**previous, **{name: text for name, text in row.cells.items() if text and name != "url"}}
        if before and self._manifest.intact(before):
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
            found = download(row.url, self._unfinished, self._limits, self._report)
            entry = {**row.cells, **_described(found), **cells, "source": row.url}
            del entry["url"]
            name = f"{entry['artist']} - {entry['song']}" if entry["artist"] else entry["song"]
            self._manifest.add(found.path, safe_name(name), found.extension, entry)
        finally:
            with contextlib.suppress(OSError):  # not empty if it holds unfinished songs
                self._unfinished.rmdir()


def _described(found: Download) -> dict[str, str]:
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "song": found.song,
        "artist": found.artist,
        "album": found.album,
        "licence": found.licence,
        "extractor": found.extractor,
        "fetched_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _summary(counts: collections.Counter[str], found: int, out: Path) -> str:
    parts = [f"{outcome} {counts[outcome]}" for outcome in (FETCHED, PRESENT, FAILED)]
    if not_tried := found - counts.total():
        parts.append(f"not tried {not_tried}")
    failed = f"; reasons in {out / FAILED_FILE}" if counts[FAILED] else ""
    return f"found {found} = {' + '.join(parts)}; manifest in {out / MANIFEST_FILE}{failed}"


def _print(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True, emoji=False)

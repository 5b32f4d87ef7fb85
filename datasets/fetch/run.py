"""`tumbao fetch`: every row of a list becomes a file with a row in the manifest, or a row in failed.csv."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import time
from pathlib import Path

from rich.console import Console

from tumbao.components.ingest import progress
from tumbao.datasets.fetch.manifest import FAILED_FILE, MANIFEST_FILE, OWN_COLUMNS, Ledger
from tumbao.datasets.fetch.names import clean_text, safe_name
from tumbao.datasets.fetch.rate_limits import Manners
from tumbao.datasets.fetch.source import Download, FetchError, download, require_yt_dlp
from tumbao.datasets.fetch.urls import Wanted, read_urls
from tumbao.schema.errors import UserError

UNFINISHED_FOLDER = ".unfinished"
"""Hidden, so that no other command reads an incomplete song."""

FETCHED, THERE, FAILED = "fetched", "already there", "failed"


def run_fetch(
    urls: Path,
    out: Path,
    console: Console,
    report: progress.Listener = progress.report,
    manners: Manners | None = None,
) -> int:
    """Fetch songs, one at a time; return 0 if every row has its song, 1 if some failed or `out` is not writable.

    Songs are written to ``<genre>/<name>.<ending>`` in `out`, with `manifest.csv` and the `failed.csv` of this run.
    Raises ValueError if the list or the folder cannot be used, or if yt-dlp is not installed.
    """
    require_yt_dlp()
    if urls.absolute() == (out / FAILED_FILE).absolute():
        raise UserError(f"Each run writes {out / FAILED_FILE} anew. Copy it to another place, and fetch the copy.")
    if os.path.expandvars(out.absolute()) != str(out.absolute()):
        raise UserError(f"Expected a folder whose path names no environment variable, or yt-dlp expands it: {out}.")
    wanted = read_urls(urls)
    counts: collections.Counter[str] = collections.Counter()
    with Ledger(out) as ledger:
        try:
            errand = _Errand(ledger, manners or Manners(), report)
            report("fetch", 0, len(wanted.rows))
            for row in wanted.rows:
                try:
                    counts[errand.run(row)] += 1
                except (FetchError, OSError) as error:
                    reason = clean_text(str(error))
                    ledger.fail(wanted.columns, row.cells, row.line, reason)
                    counts[FAILED] += 1
                    _say(console, f"  line {row.line}: {clean_text(row.url)}: {reason}")
                report("fetch", counts.total(), len(wanted.rows))
        except OSError as error:
            _say(console, f"stopped, because the books cannot be kept: {error}")
            return 1
        finally:
            _say(console, _balance(counts, len(wanted.rows), out))
    return 1 if counts[FAILED] else 0


class _Errand:
    """Processes one row after the other, with pauses between those that need the network."""

    def __init__(self, ledger: Ledger, manners: Manners, report: progress.Listener) -> None:
        self._ledger = ledger
        self._manners = manners
        self._report = report
        self._unfinished = ledger.folder / UNFINISHED_FOLDER
        self._asked = False

    def run(self, row: Wanted) -> str:
        if row.trouble:
            raise FetchError(row.trouble)
        before = self._ledger.find(row.url)
        if before and before["genre"] != row.genre:
            raise FetchError(
                f"the manifest has it as {before['genre']}: {before['file_name']}; "
                "remove that row and that file to fetch it for another genre"
            )
        known = {name: text for name, text in (before or {}).items() if text and name not in OWN_COLUMNS}
        told = {**known, **{name: text for name, text in row.cells.items() if text and name != "url"}}
        if before and self._ledger.intact(before):
            self._ledger.record({**before, **told})
            return THERE
        if self._asked:
            time.sleep(self._manners.sleep_seconds)
        self._asked = True
        self._fetch(row, told)
        return FETCHED

    def _fetch(self, row: Wanted, told: dict[str, str]) -> None:
        self._unfinished.mkdir(exist_ok=True)
        try:
            found = download(row.url, self._unfinished, self._manners, self._report)
            entry = {**row.cells, **_described(found), **told, "source": row.url}
            del entry["url"]
            named = f"{entry['artist']} - {entry['song']}" if entry["artist"] else entry["song"]
            self._ledger.admit(found.path, safe_name(named), found.ending, entry)
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


def _balance(counts: collections.Counter[str], found: int, out: Path) -> str:
    parts = [f"{outcome} {counts[outcome]}" for outcome in (FETCHED, THERE, FAILED)]
    if untried := found - counts.total():
        parts.append(f"not tried {untried}")
    failed = f"; reasons in {out / FAILED_FILE}" if counts[FAILED] else ""
    return f"found {found} = {' + '.join(parts)}; manifest in {out / MANIFEST_FILE}{failed}"


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True, emoji=False)

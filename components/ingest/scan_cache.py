"""A database of scanned files: a file that has not changed since the last scan is not hashed again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tumbao.components.ingest.decoders import AudioSegment, ScannedFile
from tumbao.components.ingest.paths import Status, as_path

_SETTLED_SECONDS = 2.0  # a file that changed just now may change again within the resolution of its times
_COMMITTED_ROWS = 500
_TABLE = "CREATE TABLE IF NOT EXISTS scanned (part TEXT PRIMARY KEY, stamp TEXT, result TEXT)"


class ScanCache:
    """A SQLite database of scan results; a result is valid while the file's metadata stays the same.

    The metadata are device, inode, size and times of local files, and size and time of files in buckets. `state` is a
    hash of the code and parameters of the scan; results of another state are replaced when their files are scanned. A
    database that cannot be read is replaced.
    """

    def __init__(self, file: Path, state: str) -> None:
        self._file = file
        self._state = state
        self._lock = threading.Lock()
        self._stored = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[ScanCache]:
        """Open the database; several threads may then call `get`."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = self._connect()
        except sqlite3.DatabaseError:
            self._file.unlink()
            self._database = self._connect()
        with contextlib.closing(self._database):
            yield self
            self._database.commit()

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._file, check_same_thread=False)
        try:
            database.execute(_TABLE)
        except sqlite3.DatabaseError:
            database.close()
            raise
        return database

    def get(self, part: AudioSegment, scan: Callable[[], ScannedFile]) -> ScannedFile:
        """Return the stored result for a song, or call `scan` and store its result."""
        stamp = self._stamp(part)
        if stamp is None:
            return scan()
        with self._lock:
            query = "SELECT result FROM scanned WHERE part = ? AND stamp = ?"
            row = self._database.execute(query, (_key(part), stamp)).fetchone()
        if row:
            return ScannedFile(**json.loads(row[0]))
        scanned = scan()
        if self._stamp(part, settled=True) == stamp:
            values = (_key(part), stamp, json.dumps(dataclasses.asdict(scanned)))
            with self._lock:
                self._database.execute("INSERT OR REPLACE INTO scanned VALUES (?, ?, ?)", values)
                self._stored += 1
                if self._stored % _COMMITTED_ROWS == 0:
                    self._database.commit()
        return scanned

    def _stamp(self, part: AudioSegment, settled: bool = False) -> str | None:
        """Return the metadata that identify a file's content; None if they are unknown or not settled yet."""
        try:
            status = as_path(part.path).stat()
        except OSError:
            return None
        if isinstance(status, Status):
            return f"{self._state} {status.st_size} {status.st_mtime_ns}"
        if settled and time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED_SECONDS:
            return None
        times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
        return f"{self._state} {status.st_dev} {status.st_ino} {status.st_size} {times}"


def _key(part: AudioSegment) -> str:
    return json.dumps([part.path, part.start_seconds, part.end_seconds])

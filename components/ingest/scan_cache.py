"""What was seen at the last look through a library: a file that has not changed is not hashed again."""

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
from tumbao.components.ingest.paths import Status, place

_SETTLED_SECONDS = 2.0  # a file that changed just now may change again within the clock's tick
_COMMITTED_ROWS = 500
_TABLE = "CREATE TABLE IF NOT EXISTS looked (part TEXT PRIMARY KEY, stamp TEXT, looked TEXT)"


class ScanCache:
    """A small database of what was found in files, valid while their numbers stay.

    Of files here these are device, inode, size and times, of files in buckets size and time.

    Parameters
    ----------
    file : Path
        Where it lies; made if it is not there. One that cannot be read is begun anew.
    state : str
        Names the code and the parameters that looked; what another state found is forgotten.
    """

    def __init__(self, file: Path, state: str) -> None:
        self._file = file
        self._state = state
        self._lock = threading.Lock()
        self._kept = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[ScanCache]:
        """Open the database.

        Yields
        ------
        memory : ScanCache
            Itself, ready to be asked by several threads.
        """
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
        (state,) = database.execute("PRAGMA user_version").fetchone()
        wanted = int(self._state[:7], 16)
        if state != wanted:
            database.execute("DROP TABLE IF EXISTS looked")
            database.execute(f"PRAGMA user_version = {wanted}")
        database.execute(_TABLE)
        return database

    def look(self, part: AudioSegment, look: Callable[[], ScannedFile]) -> ScannedFile:
        """Give what is known of a song, or find out and remember it.

        Parameters
        ----------
        part : AudioSegment
            The song.
        look : callable
            Finds it out.

        Returns
        -------
        looked : ScannedFile
            What is in the file now.
        """
        stamp = _stamp(part)
        if stamp is None:
            return look()
        with self._lock:
            query = "SELECT looked FROM looked WHERE part = ? AND stamp = ?"
            row = self._database.execute(query, (_key(part), stamp)).fetchone()
        if row:
            return ScannedFile(**json.loads(row[0]))
        looked = look()
        if _stamp(part, settled=True) == stamp:
            values = (_key(part), stamp, json.dumps(dataclasses.asdict(looked)))
            with self._lock:
                self._database.execute("INSERT OR REPLACE INTO looked VALUES (?, ?, ?)", values)
                self._kept += 1
                if self._kept % _COMMITTED_ROWS == 0:
                    self._database.commit()
        return looked


def _key(part: AudioSegment) -> str:
    return json.dumps([part.path, part.start_seconds, part.end_seconds])


def _stamp(part: AudioSegment, settled: bool = False) -> str | None:
    """Say by what numbers a file is the same; None where that cannot be said."""
    try:
        status = place(part.path).stat()
    except OSError:
        return None
    if isinstance(status, Status):
        return f"{status.st_size} {status.st_mtime_ns}"
    if settled and time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED_SECONDS:
        return None
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"

"""Snapshot of a library: its listed songs with the size and time of each file; no audio file is opened."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping

from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.listing import Entry
from tumbao.components.ingest.paths import Status, as_path

SETTLED_SECONDS = 60.0
"""A file that changed within this time may still be incomplete."""


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Snapshot of a library.

    `songs` maps each song or part of one to its listed metadata and its file's size and time. `growing` maps those
    whose files may still be incomplete to the paths of these files.
    """

    songs: Mapping[str, str]
    growing: Mapping[str, str]


def take_snapshot(library: str, layout: str, genres: tuple[str, ...]) -> Snapshot:
    """Take a snapshot of a library here or in a bucket, including entries that are not usable.

    `layout` is one of `formats.LAYOUTS`. A library that is missing or invalid raises a `ValueError`.
    """
    songs, growing = {}, {}
    for entry in read_library(as_path(library).absolute(), layout, genres).entries:
        stamp, moving = _stamp(entry.path)
        part = json.dumps((entry.song, entry.path, entry.start_seconds), ensure_ascii=False)
        songs[part] = f"{_listed(entry)} {stamp}"
        if moving:
            growing[part] = entry.path
    return Snapshot(songs, growing)


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Describe the changes between the songs of two snapshots, such as `2 new, 1 gone, 3 changed`.

    The result is empty if nothing changed.
    """
    counts = {
        "new": len(now.keys() - before.keys()),
        "gone": len(before.keys() - now.keys()),
        "changed": sum(before[song] != now[song] for song in before.keys() & now.keys()),
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _listed(entry: Entry) -> str:
    about = (entry.genre, entry.subgenre, entry.artist, entry.split, entry.end_seconds)
    return json.dumps(about, ensure_ascii=False)


def _stamp(path: str) -> tuple[str, bool]:
    """Return a file's size and time, and whether it may still grow; files in a bucket are always complete."""
    try:
        status = as_path(path).stat()
    except OSError:
        return "missing", False
    # ctime, since a copy may keep the mtime of its source
    moving = not isinstance(status, Status) and abs(time.time() - status.st_ctime) < SETTLED_SECONDS
    return f"{status.st_size} {status.st_mtime_ns}", moving

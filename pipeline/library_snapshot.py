"""A cheap look at a library: what is listed, and each file's size and time; no file named as sound is opened."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping

from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.listing import Entry
from tumbao.components.ingest.paths import Status, place

SETTLED_SECONDS = 60.0
"""A file that changed within this time may still be on its way."""


@dataclasses.dataclass(frozen=True)
class Look:
    """What a look found.

    Parameters
    ----------
    songs : mapping of str to str
        Name of a song, or part of one → all that the library says of it, and its file's numbers.
    growing : mapping of str to str
        Of these, those whose files may still be on their way → their path.
    """

    songs: Mapping[str, str]
    growing: Mapping[str, str]


def look(library: str, layout: str, genres: tuple[str, ...]) -> Look:
    """Look at a library.

    Parameters
    ----------
    library : str
        A folder or a list of songs, here or in a bucket.
    layout : str
        Its form, one of `layouts.LAYOUTS`.
    genres : tuple of str
        The run's genres.

    Returns
    -------
    look : Look
        Of all that is listed, whether usable or not.

    Raises
    ------
    ValueError
        If the library is not there or makes no sense.
    """
    songs, growing = {}, {}
    for entry in read_library(place(library).absolute(), layout, genres).entries:
        stamp, moving = _stamp(entry.path)
        part = json.dumps((entry.song, entry.path, entry.start_seconds), ensure_ascii=False)
        songs[part] = f"{_told(entry)} {stamp}"
        if moving:
            growing[part] = entry.path
    return Look(songs, growing)


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Say what changed between two looks.

    Parameters
    ----------
    before : mapping of str to str
        `Look.songs` of the former one.
    now : mapping of str to str
        Of this one.

    Returns
    -------
    sentence : str
        Such as ``2 new, 1 gone, 3 changed``; empty where nothing did.

    Examples
    --------
    >>> difference({"a": "1", "b": "1"}, {"b": "2", "c": "1"})
    '1 new, 1 gone, 1 changed'
    """
    counts = {
        "new": len(now.keys() - before.keys()),
        "gone": len(before.keys() - now.keys()),
        "changed": sum(before[song] != now[song] for song in before.keys() & now.keys()),
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _told(entry: Entry) -> str:
    about = (entry.genre, entry.subgenre, entry.artist, entry.split, entry.end_seconds)
    return json.dumps(about, ensure_ascii=False)


def _stamp(path: str) -> tuple[str, bool]:
    """Give a file's numbers, and whether it may still be on its way; what is seen in a bucket is whole."""
    try:
        status = place(path).stat()
    except OSError:
        return "missing", False
    # of the times the system's own: copies may keep the other
    moving = not isinstance(status, Status) and abs(time.time() - status.st_ctime) < SETTLED_SECONDS
    return f"{status.st_size} {status.st_mtime_ns}", moving

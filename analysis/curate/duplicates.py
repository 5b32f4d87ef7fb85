"""Duplicates with different genres.

Ingest keeps one song of each recording. If its duplicates have another genre, at most one of the genres is right.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tumbao.components.ingest.library import Rejected
from tumbao.components.ingest.listing import Entry


@dataclasses.dataclass(frozen=True)
class Contradiction:
    """A rejected duplicate (`copy`, in the file `path`) whose genre is not that of the song that is kept."""

    kept: str
    kept_genre: str
    copy: str
    copy_genre: str
    path: str


def contradictions(entries: Sequence[Entry], rejected: Sequence[Rejected]) -> tuple[Contradiction, ...]:
    """Return the duplicates whose genre is not that of the song that is kept, in the order of `rejected`."""
    genres = {entry.song: entry.genre for entry in entries}
    kept = {one.song: one.duplicate_of for one in rejected if one.duplicate_of}
    found = []
    for one in rejected:
        if one.song not in kept:
            continue
        original, passed = kept[one.song], {one.song}
        while kept.get(original, one.song) not in passed:  # a duplicate itself; parts can be duplicates of each other
            passed.add(original)
            original = kept[original]
        copy_genre = entries[one.entry].genre
        if copy_genre != genres[original]:
            found.append(Contradiction(original, genres[original], one.song, copy_genre, one.path))
    return tuple(found)

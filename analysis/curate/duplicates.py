"""One recording under two genres: ingest keeps one of its songs, and at most one of the genres is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tumbao.components.ingest.library import Rejected
from tumbao.components.ingest.listing import Entry


@dataclasses.dataclass(frozen=True)
class Contradiction:
    """A copy that is left out, with another genre than the song that is kept.

    Parameters
    ----------
    kept : str
        The song that stands in the library.
    kept_genre : str
        Its genre.
    copy : str
        The song that is left out.
    copy_genre : str
        Its genre.
    path : str
        The copy's file.
    """

    kept: str
    kept_genre: str
    copy: str
    copy_genre: str
    path: str


def contradictions(entries: Sequence[Entry], rejected: Sequence[Rejected]) -> tuple[Contradiction, ...]:
    """Find the copies whose genre is another than that of the song that is kept.

    Parameters
    ----------
    entries : sequence of Entry
        All that the library lists.
    rejected : sequence of Rejected
        What is not used of it.

    Returns
    -------
    contradictions : tuple of Contradiction
        In the order of `rejected`.
    """
    genres = {entry.song: entry.genre for entry in entries}
    kept = {one.song: one.duplicate_of for one in rejected if one.duplicate_of}
    found = []
    for one in rejected:
        if one.song not in kept:
            continue
        original, passed = kept[one.song], {one.song}
        while kept.get(original, one.song) not in passed:  # a copy itself, unless parts are copies of each other
            passed.add(original)
            original = kept[original]
        copy_genre = entries[one.entry].genre
        if copy_genre != genres[original]:
            found.append(Contradiction(original, genres[original], one.song, copy_genre, one.path))
    return tuple(found)

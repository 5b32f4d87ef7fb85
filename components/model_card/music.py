"""Counts of the training music by genre: songs, fragments and artists, without any names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tumbao.components.ingest.tags import artist_key
from tumbao.schema.record import SPLITS


@dataclass(frozen=True)
class GenreMusic:
    """Counts of one genre.

    `songs` and `fragments` are by split; `artists` counts known artists, `unsigned` songs without one, `largest` the
    songs of the artist with the most.
    """

    genre: str
    songs: Mapping[str, int]
    fragments: Mapping[str, int]
    artists: int
    unsigned: int
    largest: int

    @property
    def all_songs(self) -> int:
        """Number of songs, each counted once for every split that contains it."""
        return sum(self.songs.values())


def count(
    ingested: Iterable[Mapping[str, Any]], artists: Mapping[str, str], genres: Sequence[str]
) -> tuple[GenreMusic, ...]:
    """Count the music of each genre, in the order of the genres.

    `ingested` are the lines of `ingested.jsonl`: parts of songs, which count as one song together; parts without a
    fragment are ignored. `artists` maps songs to artists, empty where not known.
    """
    parts = [part for part in ingested if part["fragments"]]
    return tuple(_of_genre(genre, [part for part in parts if part["genre"] == genre], artists) for genre in genres)


def _of_genre(genre: str, parts: Sequence[Mapping[str, Any]], artists: Mapping[str, str]) -> GenreMusic:
    songs = Counter(split for split, _ in {(part["split"], part["song"]) for part in parts})
    fragments: Counter[str] = Counter()
    for part in parts:
        fragments[part["split"]] += part["fragments"]
    signed = Counter(artist_key(artists.get(song, "")) for song in {part["song"] for part in parts})
    unsigned = signed.pop("", 0)
    return GenreMusic(
        genre=genre,
        songs={split: songs[split] for split in SPLITS},
        fragments={split: fragments[split] for split in SPLITS},
        artists=len(signed),
        unsigned=unsigned,
        largest=max(signed.values(), default=0),
    )

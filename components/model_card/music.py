"""The music behind a model, counted by genre: songs, fragments and artists; no song and no artist by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tumbao.components.ingest.tags import artist_key
from tumbao.schema.record import SPLITS


@dataclass(frozen=True)
class GenreMusic:
    """The music of one genre.

    Parameters
    ----------
    genre : str
        The genre.
    songs, fragments : dict of str to int
        How many in each split.
    artists : int
        Artists whose name is known.
    unsigned : int
        Songs whose artist is not known.
    largest : int
        Songs of the artist with the most.
    """

    genre: str
    songs: Mapping[str, int]
    fragments: Mapping[str, int]
    artists: int
    unsigned: int
    largest: int

    @property
    def all_songs(self) -> int:
        """Songs, each counted once for every split it stands in."""
        return sum(self.songs.values())


def count(
    ingested: Iterable[Mapping[str, Any]], artists: Mapping[str, str], genres: Sequence[str]
) -> tuple[GenreMusic, ...]:
    """Count the music of each genre.

    Parameters
    ----------
    ingested : iterable of mapping
        The lines of `ingested.jsonl`: parts of songs.
    artists : mapping of str to str
        Song → artist, empty where not known.
    genres : sequence of str
        The run's genres.

    Returns
    -------
    tuple of GenreMusic
        In the order of the genres. Parts of one song are one song; one without a fragment is none.
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

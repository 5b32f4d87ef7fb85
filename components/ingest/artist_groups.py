"""Artists → train, val or test, so that each genre comes as near to its shares as whole artists allow."""

from __future__ import annotations

import collections
import hashlib
import math
from collections.abc import Mapping

from tumbao.schema.record import SPLITS


def deal_artists(artists: Mapping[str, Mapping[str, int]], held_out_share: float, seed: int) -> dict[str, str]:
    """Give each artist a side.

    The largest artists come first, then those whose hash is smaller. Each goes to the split that gains most by it: the
    distance of songs to shares, as in Pearson's chi-squared, summed over the artist's genres, shrinks most. A split in
    which a genre is still missing comes first once no artist of that genre can be spared.

    Parameters
    ----------
    artists : mapping of str to mapping of str to int
        Artist → genre → number of songs, at least 3 artists in each genre.
    held_out_share : float in (0, 0.5)
        What part of the songs of a genre should be val, and what part test, rounded up.
    seed : int
        Changes who goes where.

    Returns
    -------
    sides : dict of str to str
        Artist → split. Where each artist plays one genre, every genre stands in every split.

    Examples
    --------
    >>> deal_artists({"a": {"salsa": 40}, "b": {"salsa": 6}, "c": {"salsa": 4}}, 0.1, seed=0)
    {'a': 'train', 'b': 'val', 'c': 'test'}
    """
    songs: collections.Counter[str] = collections.Counter()
    waiting: collections.Counter[str] = collections.Counter()  # artists of each genre that are yet to come
    for genres in artists.values():
        songs.update(genres)
        waiting.update(genres.keys())
    shares: dict[tuple[str, str], int] = {}  # genre, split → songs that it should have
    for genre, count in songs.items():
        held_out = math.ceil(count * held_out_share)
        shares |= {(genre, "train"): count - 2 * held_out, (genre, "val"): held_out, (genre, "test"): held_out}
    filled = dict.fromkeys(shares, 0)

    def gain(artist: str, split: str) -> float:
        places = [((genre, split), size) for genre, size in sorted(artists[artist].items())]
        return sum(size * (2 * (shares[place] - filled[place]) - size) / shares[place] for place, size in places)

    def is_last_chance(artist: str, split: str) -> bool:
        return any(
            not filled[genre, split] and waiting[genre] <= sum(not filled[genre, other] for other in SPLITS)
            for genre in artists[artist]
        )

    def order(artist: str) -> tuple[int, bytes]:
        return -sum(artists[artist].values()), hashlib.sha256(f"{seed}:{artist}".encode()).digest()

    sides: dict[str, str] = {}
    for artist in sorted(artists, key=order):
        _, _, side = max((is_last_chance(artist, split), gain(artist, split), split) for split in SPLITS)
        for genre, size in artists[artist].items():
            filled[genre, side] += size
            waiting[genre] -= 1
        sides[artist] = side
    return sides

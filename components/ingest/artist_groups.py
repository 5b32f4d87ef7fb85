"""Assign artists to train, val or test, so that each genre comes as close to its shares as whole artists allow."""

from __future__ import annotations

import collections
import hashlib
import math
from collections.abc import Mapping

from tumbao.schema.record import SPLITS


def deal_artists(artists: Mapping[str, Mapping[str, int]], held_out_share: float, seed: int) -> dict[str, str]:
    """Return the split of each artist.

    `artists` maps artist → genre → number of songs; each genre needs at least 3 artists. `held_out_share`, in (0,
    0.5), is the share of a genre's songs in val, and in test, rounded up.

    The largest artists are assigned first, ties in the order of a hash that `seed` changes. Each artist is assigned to
    the split with the largest gain: the decrease of the distance between songs and shares, as in Pearson's
    chi-squared, summed over the artist's genres. A split without a genre has priority once all remaining artists of
    that genre are needed for such splits. If each artist has only one genre, every genre is in every split.
    """
    songs: collections.Counter[str] = collections.Counter()
    waiting: collections.Counter[str] = collections.Counter()  # number of unassigned artists of each genre
    for genres in artists.values():
        songs.update(genres)
        waiting.update(genres.keys())
    shares: dict[tuple[str, str], int] = {}  # genre, split → target number of songs
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

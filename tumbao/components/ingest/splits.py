"""Song → train, val or test.

Conventions: 80/10/10 within each genre, val and test rounded up so that each has at least one unit; what is left is
train. A unit is a song or, under the paper's protocol, a fragment: then fragments of one song stand on several sides
and the evaluation is leaky. Units are dealt out in the order of a hash of seed and unit, which depends on nothing else.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from tumbao.schema.record import SPLITS

PROTOCOLS: tuple[str, ...] = ("song", "fragment")
"""How a library may be split; only `song` keeps the fragments of a song together."""

_HELD_OUT_SHARE = 0.1

Assignment = dict[str, dict[str, list[int]]]
"""Split → song → indexes of its fragments that belong there."""


def split_songs(songs: Mapping[str, Mapping[str, int]], protocol: str, seed: int) -> Assignment:
    """Assign every fragment of every song to a split, stratified by genre.

    Parameters
    ----------
    songs : mapping of str to mapping of str to int
        Genre → song → number of its fragments.
    protocol : str
        `song` (leak-free) or `fragment` (the paper's protocol, leaky).
    seed : int
        Changes who goes where.

    Returns
    -------
    assignment : dict
        Split → song → indexes of its fragments.

    Raises
    ------
    ValueError
        If the protocol is unknown or a genre has too few songs (or fragments) to stand in every split.

    Examples
    --------
    >>> sides = split_songs({"salsa": {"a": 2, "b": 3, "c": 1}}, "song", seed=0)
    >>> {split: len(members) for split, members in sides.items()}
    {'train': 1, 'val': 1, 'test': 1}
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"Expected a split protocol out of {PROTOCOLS}. Received: {protocol!r}")
    assignment: Assignment = {split: {} for split in SPLITS}
    short: list[str] = []
    for genre, counts in songs.items():
        units = _units(counts, protocol)
        if len(units) < len(SPLITS):
            short.append(f"{genre} has {len(units)} and needs {len(SPLITS) - len(units)} more")
            continue
        units.sort(key=lambda unit: hashlib.sha256(f"{seed}:{unit[0]}:{unit[1]}".encode()).digest())
        held_out = math.ceil(len(units) * _HELD_OUT_SHARE)
        sides = {"test": units[:held_out], "val": units[held_out : 2 * held_out], "train": units[2 * held_out :]}
        for split, members in sides.items():
            for song, fragments in members:
                assignment[split].setdefault(song, []).extend(fragments)
    if short:
        raise ValueError(
            f"Every genre must stand in {', '.join(SPLITS)}, so each needs at least {len(SPLITS)} usable {protocol}s: "
            f"{'; '.join(short)}. Add songs, or leave the genre out with --genres."
        )
    return {
        split: {song: sorted(fragments) for song, fragments in sorted(members.items())}
        for split, members in assignment.items()
    }


def _units(counts: Mapping[str, int], protocol: str) -> list[tuple[str, Sequence[int]]]:
    if protocol == "song":
        return [(song, range(count)) for song, count in counts.items()]
    return [(song, (index,)) for song, count in counts.items() for index in range(count)]

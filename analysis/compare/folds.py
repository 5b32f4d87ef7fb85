"""Which fragments are trained on, chosen by and tested on: one split, or cross-validation."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict

import numpy as np

from tumbao.components.ingest.rendered_library import Library
from tumbao.components.ingest.splits import split_songs
from tumbao.components.ingest.tags import artist_key
from tumbao.schema.errors import UserError
from tumbao.schema.record import SPLITS


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """One division of a library.

    Parameters
    ----------
    fold : int or None
        The part that is tested, from 0; None without cross-validation.
    train, val, test : np.ndarray [dtype=int64]
        Rows of the library, in its order.
    """

    fold: int | None
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def digest(self) -> str:
        """The division as a digest."""
        told = hashlib.sha256()
        for rows in (self.train, self.val, self.test):
            told.update(rows.tobytes() + b"|")
        return told.hexdigest()[:16]


def one_split(library: Library, protocol: str, seed: int) -> Fold:
    """Divide a library once, as `tumbao run` does.

    Parameters
    ----------
    library : Library
        The fragments.
    protocol : str
        What is kept whole, one of `splits.PROTOCOLS`.
    seed : int
        Changes who goes where.

    Returns
    -------
    division : Fold
        About 80, 10 and 10 % of each genre.

    Raises
    ------
    ValueError
        If a genre cannot stand in every part.
    """
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for song, number, label in zip(library.songs, library.numbers.tolist(), library.labels.tolist(), strict=True):
        counts[library.genres[label]][song] = max(counts[library.genres[label]].get(song, 0), number + 1)
    assignment = split_songs(counts, protocol, seed, artists=library.artists)
    side = {
        (song, number): split for split in SPLITS for song, members in assignment[split].items() for number in members
    }
    sides = np.array([side[one] for one in zip(library.songs, library.numbers.tolist(), strict=True)])
    return Fold(None, *(np.flatnonzero(sides == split) for split in SPLITS))


def cross_validation(library: Library, protocol: str, folds: int, seed: int) -> list[Fold]:
    """Divide a library so that each fragment is tested once, and the next part is what is chosen by.

    Parameters
    ----------
    library : Library
        The fragments.
    protocol : str
        What is kept whole, one of `splits.PROTOCOLS`.
    folds : int
        How many parts, at least 3.
    seed : int
        Changes who goes where.

    Returns
    -------
    divisions : list of Fold
        One for each part; each genre is dealt out evenly.

    Raises
    ------
    ValueError
        If there are fewer than 3 parts, or a genre has fewer songs (artists, fragments) than parts.
    """
    if folds < 3:
        raise UserError(f"Expected at least 3 folds: one to test, one to choose by, one to train. Received: {folds}")
    keys = {song: artist_key(artist) for song, artist in library.artists.items()}

    def unit_of(song: str, number: int) -> str:
        if protocol == "fragment":
            return f"{song}:{number}"
        return f"artist:{keys[song]}" if protocol == "artist" and keys.get(song) else song

    named = list(map(unit_of, library.songs, library.numbers.tolist()))
    genre_of: dict[str, int] = {}  # an artist of several genres is dealt out with one of them
    for unit, label in zip(named, library.labels.tolist(), strict=True):
        genre_of.setdefault(unit, label)
    part: dict[str, int] = {}
    for label, genre in enumerate(library.genres):
        units = [unit for unit, its in genre_of.items() if its == label]
        if len(units) < folds:
            raise UserError(
                f"Expected at least {folds} {protocol}s of each genre for {folds} folds. "
                f"Received: {len(units)} of {genre}. Choose fewer folds, or leave that genre out with --genres."
            )
        units.sort(key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).digest())
        part.update({unit: (label + place) % folds for place, unit in enumerate(units)})
    parts = np.array([part[unit] for unit in named])
    rounds = []
    for fold in range(folds):
        val = (fold + 1) % folds
        held_out = np.isin(parts, (fold, val))
        rounds.append(Fold(fold, *map(np.flatnonzero, (~held_out, parts == val, parts == fold))))
    return rounds

"""Which fragments are trained on, chosen by and tested on: one split, or cross-validation."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from tumbao.components.ingest.splits import split_songs
from tumbao.schema.record import SPLITS


@dataclasses.dataclass(frozen=True, eq=False)
class Round:
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


def one_split(songs: Sequence[str], numbers: np.ndarray, labels: np.ndarray, protocol: str, seed: int) -> Round:
    """Divide a library once, as `tumbao run` does.

    Parameters
    ----------
    songs : sequence of str
        The song of each fragment.
    numbers : np.ndarray [shape=(n,)]
        Its number in the song.
    labels : np.ndarray [shape=(n,)]
        Its genre's index.
    protocol : str
        `song`, or the paper's `fragment`, which leaks.
    seed : int
        Changes who goes where.

    Returns
    -------
    division : Round
        About 80, 10 and 10 % of each genre.

    Raises
    ------
    ValueError
        If a genre cannot stand in every part.
    """
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for song, number, label in zip(songs, numbers.tolist(), labels.tolist(), strict=True):
        counts[str(label)][song] = max(counts[str(label)].get(song, 0), number + 1)
    assignment = split_songs(counts, protocol, seed)
    side = {
        (song, number): split for split in SPLITS for song, members in assignment[split].items() for number in members
    }
    sides = np.array([side[one] for one in zip(songs, numbers.tolist(), strict=True)])
    return Round(None, *(np.flatnonzero(sides == split) for split in SPLITS))


def cross_validation(
    songs: Sequence[str], numbers: np.ndarray, labels: np.ndarray, protocol: str, folds: int, seed: int
) -> list[Round]:
    """Divide a library so that each fragment is tested once, and the next part is what is chosen by.

    Parameters
    ----------
    songs : sequence of str
        The song of each fragment.
    numbers : np.ndarray [shape=(n,)]
        Its number in the song.
    labels : np.ndarray [shape=(n,)]
        Its genre's index.
    protocol : str
        `song`, or the paper's `fragment`, which leaks.
    folds : int
        How many parts, at least 3.
    seed : int
        Changes who goes where.

    Returns
    -------
    divisions : list of Round
        One for each part; each genre is dealt out evenly.

    Raises
    ------
    ValueError
        If there are fewer than 3 parts, or a genre has fewer songs (or fragments) than parts.
    """
    if folds < 3:
        raise ValueError(f"Expected at least 3 folds: one to test, one to choose by, one to train. Received: {folds}")
    units: dict[int, set[tuple[str, int]]] = defaultdict(set)
    named = [
        (song, number if protocol == "fragment" else -1) for song, number in zip(songs, numbers.tolist(), strict=True)
    ]
    for unit, label in zip(named, labels.tolist(), strict=True):
        units[label].add(unit)
    part: dict[tuple[str, int], int] = {}
    for label in sorted(units):
        if len(units[label]) < folds:
            raise ValueError(
                f"Expected at least as many {protocol}s of each genre as folds, {folds}. "
                f"Received: {len(units[label])} of one genre. Choose fewer folds, or leave that genre out with --genres."
            )
        shuffled = sorted(units[label], key=lambda unit: hashlib.sha256(f"{seed}:{unit[0]}:{unit[1]}".encode()).digest())
        part.update({unit: (label + place) % folds for place, unit in enumerate(shuffled)})
    parts = np.array([part[unit] for unit in named])
    rounds = []
    for fold in range(folds):
        val = (fold + 1) % folds
        held_out = np.isin(parts, (fold, val))
        rounds.append(Round(fold, *map(np.flatnonzero, (~held_out, parts == val, parts == fold))))
    return rounds

"""Genres and their sub-genres.

The outputs of a model are leaves. A leaf is a genre (`cumbia`) or a sub-genre (`salsa/romantica`). Beside its
sub-genres, a genre may have its own leaf (`salsa`), for songs whose sub-genre is unknown or was folded. The probability
of a genre is the sum over its leaves.

The names define the hierarchy, and only if some genre has several leaves. Otherwise leaves and genres are the same, and
a slash has no special meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

SEPARATOR = "/"
"""Separates genre and sub-genre in the name of a leaf."""


def in_order(leaves: Iterable[str]) -> tuple[str, ...]:
    """Sort unique leaves by genre, a genre's own leaf first, so that the leaves of one genre are adjacent.

    Examples
    --------
    >>> in_order(["salsa/dura", "salsa choke", "salsa", "cumbia"])
    ('cumbia', 'salsa', 'salsa/dura', 'salsa choke')
    """
    return tuple(sorted(set(leaves), key=lambda leaf: leaf.split(SEPARATOR)))


def main_genres(leaves: Sequence[str]) -> tuple[str, ...]:
    """Return the genre of each leaf, given all leaves of a model; the leaves themselves if no genre has several.

    Examples
    --------
    >>> main_genres(["cumbia", "salsa", "salsa/dura"])
    ('cumbia', 'salsa', 'salsa')
    >>> main_genres(["rock/pop", "salsa"])
    ('rock/pop', 'salsa')
    """
    genres = tuple(leaf.partition(SEPARATOR)[0] for leaf in leaves)
    return genres if len(set(genres)) < len(genres) else tuple(leaves)


def has_subgenres(leaves: Sequence[str]) -> bool:
    """Tell whether some genre has several leaves."""
    return main_genres(leaves) != tuple(leaves)


def grouped(leaves: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the unique genres, in the order of their first leaves, and the index of each leaf's genre [leaves]."""
    of_leaves = main_genres(leaves)
    genres = tuple(dict.fromkeys(of_leaves))
    return genres, np.array([genres.index(genre) for genre in of_leaves], np.int64)


def roll_up(probabilities: np.ndarray, leaves: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Sum the probabilities of leaves [..., leaves] to those of their genres, float64 [..., genres], see `grouped`.

    Examples
    --------
    >>> roll_up(np.array([0.5, 0.25, 0.25]), ["cumbia", "salsa", "salsa/dura"])
    (('cumbia', 'salsa'), array([0.5, 0.5]))
    """
    genres, genre_of = grouped(leaves)
    return genres, np.asarray(probabilities, np.float64) @ np.eye(len(genres))[genre_of]

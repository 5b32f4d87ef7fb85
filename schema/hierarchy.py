"""Genres and their sub-genres.

A model answers with leaves. A leaf is a genre (`cumbia`) or one of its sub-genres (`salsa/romantica`); beside its
sub-genres a genre may have a leaf of its own (`salsa`), for songs of which no more is known or that were folded up. The
probability of a genre is the sum over its leaves.

Names carry the hierarchy, and only where some genre has several leaves: otherwise leaves and genres are the same, and a
slash is a letter as any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

SEPARATOR = "/"
"""What stands between genre and sub-genre in the name of a leaf."""


def in_order(leaves: Iterable[str]) -> tuple[str, ...]:
    """Sort leaves, so that those of one genre stand together.

    Parameters
    ----------
    leaves : iterable of str
        Names, in any order and number.

    Returns
    -------
    leaves : tuple of str
        Each once, by genre, a genre's own leaf first.

    Examples
    --------
    >>> in_order(["salsa/dura", "salsa choke", "salsa", "cumbia"])
    ('cumbia', 'salsa', 'salsa/dura', 'salsa choke')
    """
    return tuple(sorted(set(leaves), key=lambda leaf: leaf.split(SEPARATOR)))


def main_genres(leaves: Sequence[str]) -> tuple[str, ...]:
    """Tell the genre of each leaf.

    Parameters
    ----------
    leaves : sequence of str
        All leaves of a model.

    Returns
    -------
    genres : tuple of str
        As many, in the same order; the leaves themselves where no genre has several.

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
    """Tell whether there are two levels.

    Parameters
    ----------
    leaves : sequence of str
        All leaves of a model.

    Returns
    -------
    two_levels : bool
        Whether some genre has several leaves.
    """
    return main_genres(leaves) != tuple(leaves)


def grouped(leaves: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Give each genre a number.

    Parameters
    ----------
    leaves : sequence of str
        All leaves of a model.

    Returns
    -------
    genres : tuple of str
        Each once, in the order of their first leaves.
    genre_of : np.ndarray [shape=(leaves,), dtype=int64]
        The index of each leaf's genre.
    """
    of_leaves = main_genres(leaves)
    genres = tuple(dict.fromkeys(of_leaves))
    return genres, np.array([genres.index(genre) for genre in of_leaves], np.int64)


def roll_up(probabilities: np.ndarray, leaves: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Sum the probabilities of leaves to those of their genres.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(..., leaves)]
        In the order of the leaves.
    leaves : sequence of str
        All leaves of a model.

    Returns
    -------
    genres : tuple of str
        See `grouped`.
    probabilities : np.ndarray [shape=(..., genres), dtype=float64]
        Their probabilities.

    Raises
    ------
    ValueError
        If there are not as many probabilities as leaves.

    Examples
    --------
    >>> roll_up(np.array([0.5, 0.25, 0.25]), ["cumbia", "salsa", "salsa/dura"])
    (('cumbia', 'salsa'), array([0.5, 0.5]))
    """
    if np.ndim(probabilities) < 1 or np.shape(probabilities)[-1] != len(leaves):
        raise ValueError(
            f"Expected a probability for each of {len(leaves)} leaves. Received: shape={np.shape(probabilities)}"
        )
    genres, genre_of = grouped(leaves)
    return genres, np.asarray(probabilities, np.float64) @ np.eye(len(genres))[genre_of]

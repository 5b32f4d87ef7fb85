"""Fragments that are unlike all other songs of their genre: applause, speech, silence, or music of no genre here."""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 5
"""How many of the nearest fragments count."""

LIMIT = 3.5
"""How many robust standard deviations (Iglewicz & Hoaglin 1993) lie between usual and an outlier."""

_BLOCK = 1_024
_SIGMA = 1.4826
"""A normal distribution's standard deviation in units of its median absolute deviation."""


def pooled(features: np.ndarray) -> np.ndarray:
    """Reduce a backbone's features to one vector each, as long as they have channels.

    Parameters
    ----------
    features : np.ndarray [shape=(n, ..., channels)]
        May be mapped from a file: it is read in blocks.

    Returns
    -------
    vectors : np.ndarray [shape=(n, channels), dtype=float32]
        Means over all but the last axis; each channel with zero mean and unit variance.
    """
    between = tuple(range(1, features.ndim - 1))
    blocks = (features[begin : begin + _BLOCK].astype(np.float32) for begin in range(0, len(features), _BLOCK))
    vectors = np.concatenate([block.mean(axis=between) for block in blocks])
    spread = vectors.std(axis=0)
    return (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)


def strangeness(vectors: np.ndarray, labels: np.ndarray, songs: np.ndarray) -> np.ndarray:
    """Measure how far fragments are from the other songs of their genre.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n, channels), dtype=float32]
        Of `pooled`.
    labels : np.ndarray [shape=(n,), dtype=int]
        Their genres.
    songs : np.ndarray [shape=(n,)]
        Their songs; fragments of one song are no neighbours.

    Returns
    -------
    deviations : np.ndarray [shape=(n,), dtype=float64]
        The mean distance to the nearest neighbours, as robust standard deviations above the genre's median; 0 where the
        genre has no other song.
    """
    deviations = np.zeros(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own, its_songs = vectors[rows], songs[rows]
        squares = (own**2).sum(axis=1)
        distances = np.full(len(rows), np.nan)
        for begin in range(0, len(rows), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            between = squares[part, None] + squares - 2 * own[part] @ own.T
            between[its_songs[part, None] == its_songs] = np.inf
            nearest = np.sort(between, axis=1)[:, :NEIGHBOURS]
            found = np.isfinite(nearest)
            total = np.sqrt(np.clip(nearest, 0, None), where=found, out=np.zeros_like(nearest)).sum(axis=1)
            distances[part] = np.divide(total, found.sum(axis=1), where=found.any(axis=1), out=distances[part])
        if np.isfinite(distances).all():
            above = distances - np.median(distances)
            scale = _SIGMA * np.median(np.abs(above))
            deviations[rows] = above / scale if scale else 0.0
    return deviations

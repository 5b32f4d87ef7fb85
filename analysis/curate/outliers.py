"""Fragments that are unlike all other songs of their genre.

Examples are applause, speech, silence, and music of none of the library's genres.
"""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 5
"""Number of nearest fragments whose distance is averaged."""

LIMIT = 3.5
"""Robust standard deviations above the median from which a fragment is an outlier (Iglewicz & Hoaglin 1993)."""

_BLOCK = 1_024
_SIGMA = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""


def pooled(features: np.ndarray) -> np.ndarray:
    """Average features [n, ..., channels] to vectors, float32 [n, channels].

    Each channel has zero mean and unit variance. The features are read in blocks, so they may be memory-mapped.
    """
    between = tuple(range(1, features.ndim - 1))
    blocks = (features[begin : begin + _BLOCK].astype(np.float32) for begin in range(0, len(features), _BLOCK))
    vectors = np.concatenate([block.mean(axis=between) for block in blocks])
    spread = vectors.std(axis=0)
    return (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)


def strangeness(vectors: np.ndarray, labels: np.ndarray, songs: np.ndarray) -> np.ndarray:
    """Return the outlier score of each fragment, float64 [n].

    It is the mean distance to the nearest fragments of other songs of the same genre, in robust standard deviations
    above the genre's median; 0 if the genre has no other song. `vectors` are those of `pooled`.
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

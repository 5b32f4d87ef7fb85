"""Nearest fragments by a network's activations, and a map of all fragments.

The distance is the cosine distance of the vectors in the last hidden layer: 0 for the same direction, 1 if no unit is
active in both. The softmax that follows depends on a vector's direction, and its confidence on the vector's length. By
Euclidean distance, a faint bachata would be nearer to faint salsas than to a clear bachata.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tumbao.schema.errors import UserError

PERPLEXITY = 10.0
"""Approximate number of neighbours of a fragment on the map; lower if there are few fragments."""

_SEED = 7
_LEAST_LENGTH = 1e-12


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Normalize vectors [n, units] to length 1, in float64; zero vectors stay zero, at distance 1 from all others."""
    wide = np.asarray(vectors, np.float64)
    return wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), _LEAST_LENGTH)


def nearest(
    vector: np.ndarray,
    vectors: np.ndarray,
    songs: Sequence[str],
    count: int,
    *,
    among: np.ndarray | None = None,
    without: Collection[str] = (),
) -> list[tuple[int, float]]:
    """Find the fragments nearest to `vector`, at most one per song: (row, distance in 0..2), the nearest first.

    `among` bool [n] selects the rows to search; `without` excludes songs, such as the vector's own. Of equal distances,
    the first row wins.
    """
    if vectors.ndim != 2 or vector.shape != vectors.shape[1:]:
        raise ValueError(
            f"Expected a vector as long as those to search. Received shapes: {vector.shape} and {vectors.shape}"
        )
    distances = 1 - unit_vectors(vectors) @ unit_vectors(vector[None])[0]
    found: dict[str, tuple[int, float]] = {}
    for row in np.argsort(distances, kind="stable").tolist():
        if len(found) == count:
            break
        if songs[row] not in without and (among is None or among[row]):
            found.setdefault(songs[row], (row, max(0.0, float(distances[row]))))
    return list(found.values())


def typical(vectors: np.ndarray, labels: np.ndarray, genre: int) -> int | None:
    """Find the fragment nearest to the mean direction of its genre; None if the genre has no fragment."""
    rows = np.flatnonzero(labels == genre)
    if not len(rows):
        return None
    own = unit_vectors(vectors[rows])
    return int(rows[np.argmax(own @ own.mean(axis=0))])


def agreement(vectors: np.ndarray, labels: np.ndarray, songs: Sequence[str], training: np.ndarray) -> float | None:
    """Compute how often a fragment outside training has the genre of the nearest training fragment of another song.

    If all fragments were in training (bool [n]), each is compared with all others. The share, in [0, 1], is over
    fragments that have another one to be compared with; None if there is none.
    """
    own = unit_vectors(vectors)
    names = np.unique(np.asarray(songs, object), return_inverse=True)[1]
    asked = np.flatnonzero(~training) if not training.all() else np.arange(len(own))
    others = (names[asked, None] != names) & training
    comparable = others.any(axis=1)
    if not comparable.any():
        return None
    asked, others = asked[comparable], others[comparable]
    found = np.where(others, own[asked] @ own.T, -np.inf).argmax(axis=1)
    return float((labels[found] == labels[asked]).mean())


def embedding_map(vectors: np.ndarray) -> np.ndarray:
    """Embed vectors [n, units] in two dimensions with t-SNE, which preserves neighbours but not distances.

    Returns float64 [n, 2] in [0, 1], the same for the same vectors. Raises UserError for fewer than four vectors.
    """
    from sklearn.manifold import TSNE

    if len(vectors) < 4:
        raise UserError(f"Expected at least 4 fragments for a map, of library and songs. Received: {len(vectors)}")
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="pca", random_state=_SEED, n_jobs=1)
    positions = layout.fit_transform(unit_vectors(vectors)).astype(np.float64)
    low, high = positions.min(axis=0), positions.max(axis=0)
    return (positions - low) / np.maximum(high - low, _LEAST_LENGTH)

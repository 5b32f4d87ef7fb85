"""Which fragments a network takes for alike, and all of them on a map.

Two fragments are as far from each other as the directions of their vectors in the last hidden layer, one minus the
cosine: 0 for the same direction, 1 where no unit is active in both. The softmax after it weighs a vector's direction,
and its length is how sure the network is; by Euclid's distance a faint bachata would be nearer to faint salsas than to
a clear bachata.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from tumbao.errors import UserError

PERPLEXITY = 10.0
"""How many neighbours a fragment has on the map, about; fewer where there are few fragments."""

_SEED = 7
_LEAST_LENGTH = 1e-12


def directions(vectors: np.ndarray) -> np.ndarray:
    """Bring vectors to length 1.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n, units), dtype=float32]
        Of the last hidden layer.

    Returns
    -------
    directions : np.ndarray [shape=(n, units), dtype=float64]
        Of length 1; a vector of zeros stays as it is and is at a distance of 1 from all others.
    """
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
    """Find the fragments that are nearest to one, of each song the nearest only.

    Parameters
    ----------
    vector : np.ndarray [shape=(units,), dtype=float32]
        The one.
    vectors : np.ndarray [shape=(n, units), dtype=float32]
        Those to search.
    songs : sequence of str
        The song of each.
    count : int
        How many, at most.
    among : np.ndarray [shape=(n,), dtype=bool], optional
        Those that count; all of them by default.
    without : collection of str
        Songs that do not count, such as the one that it is from.

    Returns
    -------
    found : list of (int, float)
        Row and distance, 0 to 2, the nearest first; of equals the first.

    Raises
    ------
    ValueError
        If vectors have another length.
    """
    if vectors.ndim != 2 or vector.shape != vectors.shape[1:]:
        raise ValueError(
            f"Expected a vector as long as those to search. Received shapes: {vector.shape} and {vectors.shape}"
        )
    distances = 1 - directions(vectors) @ directions(vector[None])[0]
    found: dict[str, tuple[int, float]] = {}
    for row in np.argsort(distances, kind="stable").tolist():
        if len(found) == count:
            break
        if songs[row] not in without and (among is None or among[row]):
            found.setdefault(songs[row], (row, max(0.0, float(distances[row]))))
    return list(found.values())


def typical(vectors: np.ndarray, labels: np.ndarray, genre: int) -> int | None:
    """Find the fragment that is most like all others of its genre.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n, units), dtype=float32]
        Of the last hidden layer.
    labels : np.ndarray [shape=(n,), dtype=int64]
        Index of the genre of each.
    genre : int
        The genre's.

    Returns
    -------
    row : int or None
        The nearest to the mean of the genre's directions; None if it has no fragment.
    """
    rows = np.flatnonzero(labels == genre)
    if not len(rows):
        return None
    own = directions(vectors[rows])
    return int(rows[np.argmax(own @ own.mean(axis=0))])


def agreement(vectors: np.ndarray, labels: np.ndarray, songs: Sequence[str], training: np.ndarray) -> float | None:
    """Tell how often the nearest fragment that was in training has the same genre as one of another song that was not.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n, units), dtype=float32]
        Of the last hidden layer.
    labels : np.ndarray [shape=(n,), dtype=int64]
        Index of the genre of each.
    songs : sequence of str
        The song of each.
    training : np.ndarray [shape=(n,), dtype=bool]
        What was in training. If all of it was, each is compared with all others.

    Returns
    -------
    share : float or None
        In [0, 1]; of those that have a fragment to be compared with. None if none has.
    """
    own = directions(vectors)
    names = np.unique(np.asarray(songs, object), return_inverse=True)[1]
    asked = np.flatnonzero(~training) if not training.all() else np.arange(len(own))
    others = (names[asked, None] != names) & training
    comparable = others.any(axis=1)
    if not comparable.any():
        return None
    asked, others = asked[comparable], others[comparable]
    found = np.where(others, own[asked] @ own.T, -np.inf).argmax(axis=1)
    return float((labels[found] == labels[asked]).mean())


def on_a_map(vectors: np.ndarray) -> np.ndarray:
    """Lay fragments out so that those that are alike lie together: t-SNE, which keeps neighbours and not distances.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n, units), dtype=float32]
        Of the last hidden layer.

    Returns
    -------
    places : np.ndarray [shape=(n, 2), dtype=float64]
        In [0, 1]; the same for the same vectors.

    Raises
    ------
    UserError
        If there are fewer than four fragments.
    """
    from sklearn.manifold import TSNE

    if len(vectors) < 4:
        raise UserError(f"Expected at least 4 fragments for a map, of library and songs. Received: {len(vectors)}")
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="pca", random_state=_SEED, n_jobs=1)
    places = layout.fit_transform(directions(vectors)).astype(np.float64)
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - low) / np.maximum(high - low, _LEAST_LENGTH)

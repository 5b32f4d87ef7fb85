"""Position of songs in a library, by the activations of a network: nearest fragments and a map of all.

The distance is the cosine distance of the vectors in the last hidden layer: 0 for the same direction, 1 if no unit is
active in both. The softmax that follows depends on a vector's direction, and its confidence on the vector's length. By
Euclidean distance, a faint bachata would be nearer to faint salsas than to a clear bachata.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE
from sklearn.preprocessing import minmax_scale, normalize

from tumbao.components.ingest.library import CATALOGS, Catalog
from tumbao.components.ingest.records import decode_image
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.tables import table_rows
from tumbao.schema.errors import UserError
from tumbao.serving.explain.network import Activations, Network
from tumbao.serving.model_info import ModelInfo


def training_side(info: ModelInfo, catalog: Catalog, library: RenderedLibrary, workspace: Path) -> np.ndarray | None:
    """Mark the training fragments of a library, bool [n], by the manifest of the run that trained the model.

    Returns None if the workspace does not have the manifest, or the library does not have its songs.
    """
    manifest = workspace / CATALOGS / info.training_data.catalog_digest / "train.csv"
    rows = list(table_rows(str(manifest))) if manifest.is_file() else []
    songs = {(song.song, song.sha256) for song in catalog.songs}
    if not rows or not all((row["song"], row["sha256"]) in songs for row in rows):
        return None
    taken: set[tuple[str, int | None]] = set()  # None: all fragments of a song
    for row in rows:
        indices = map(int, row["fragments"].split())
        taken |= {(row["song"], int(row["first"]) + index) for index in indices} or {(row["song"], None)}
    numbered = zip(library.songs, library.numbers.tolist(), strict=True)
    return np.array([(song, number) in taken or (song, None) in taken for song, number in numbered])


FRAGMENTS = 400  # largest number of fragments of a library that are used; a larger library is sampled evenly


@dataclasses.dataclass(frozen=True, eq=False)
class QueryFragment:
    """A fragment of a song to be placed in the library; `image` is its mel image, uint8 [height, width, 3]."""

    name: str
    path: Path
    start_seconds: float
    image: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class LibraryContext:
    """A library and the songs placed in it."""

    catalog: Catalog
    library: RenderedLibrary  # the n fragments that were used
    left_out: int  # number of the others
    training: np.ndarray  # bool [n]: training fragments; all if they are not known
    training_known: bool
    activations: Activations
    queries: tuple[QueryFragment, ...]
    query_activations: Activations | None  # None without any
    positions: np.ndarray  # coordinates on the map in [0, 1], float64 [n + m, 2], the library first

    @property
    def mistakes(self) -> np.ndarray:
        """Rows of the library that the network assigns to another genre, int64 [k]."""
        return np.flatnonzero(self.activations.answers != self.library.labels)


def library_context(
    network: Network,
    catalog: Catalog,
    library: RenderedLibrary,
    queries: Sequence[QueryFragment],
    workspace: Path,
) -> LibraryContext:
    """Compute activations and map of a library and the fragments in `queries`, which may be empty."""
    info = network.info
    if library.genres != info.genres:
        raise UserError(
            f"Expected a library of the model's genres, {', '.join(info.genres)}. Received: {', '.join(library.genres)}"
        )
    training = training_side(info, catalog, library, workspace)
    rows = np.unique(np.linspace(0, len(library.songs) - 1, min(FRAGMENTS, len(library.songs))).round().astype(int))
    part = _part(library, rows)
    activations = network.activations(map(decode_image, part.images()), len(part.songs), "library")
    query_activations = network.activations((one.image for one in queries), len(queries), "songs") if queries else None
    vectors = [one.vectors for one in (activations, query_activations) if one]
    trained = np.ones(len(rows), bool) if training is None else training[rows]
    return LibraryContext(
        catalog=catalog,
        library=part,
        left_out=len(library.songs) - len(rows),
        training=trained,
        training_known=training is not None,
        activations=activations,
        queries=tuple(queries),
        query_activations=query_activations,
        positions=embedding_map(np.concatenate(vectors)),
    )


def _part(library: RenderedLibrary, rows: np.ndarray) -> RenderedLibrary:
    """Select fragments of a library."""
    return dataclasses.replace(
        library,
        songs=tuple(library.songs[row] for row in rows),
        labels=library.labels[rows],
        numbers=library.numbers[rows],
        starts=library.starts[rows],
        files=tuple(library.files[row] for row in rows),
        archives=tuple(library.archives[row] for row in rows),
        members=tuple(library.members[row] for row in rows),
    )


PERPLEXITY = 10.0  # approximate number of neighbours of a fragment on the map; lower if there are few fragments

_SEED = 7


def nearest(
    vector: np.ndarray, vectors: np.ndarray, songs: Sequence[str], count: int, usable: np.ndarray
) -> list[tuple[int, float]]:
    """Find the usable fragments nearest to `vector`, at most one per song: (row, distance in 0..2)."""
    distances = 1 - unit_vectors(vectors) @ unit_vectors(vector[None])[0]
    found: dict[str, tuple[int, float]] = {}
    for row in np.argsort(distances, kind="stable").tolist():
        if usable[row]:
            found.setdefault(songs[row], (row, max(0.0, float(distances[row]))))
    return list(found.values())[:count]


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors [n, units] to length 1, in float64; zero vectors stay zero, at distance 1 from all others."""
    return normalize(vectors.astype(np.float64))


def typical(vectors: np.ndarray, labels: np.ndarray, genre: int) -> int | None:
    """Find the fragment nearest to the mean direction of its genre; None if the genre has no fragment."""
    rows = np.flatnonzero(labels == genre)
    if not len(rows):
        return None
    own = unit_vectors(vectors[rows])
    return int(rows[np.argmax(own @ own.mean(axis=0))])


def embedding_map(vectors: np.ndarray) -> np.ndarray:
    """Embed vectors [n, units] in two dimensions with t-SNE, which preserves neighbours but not distances."""
    if len(vectors) < 4:
        raise UserError(f"Expected at least 4 fragments for a map, of library and songs. Received: {len(vectors)}")
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="pca", random_state=_SEED, n_jobs=1)
    return minmax_scale(layout.fit_transform(unit_vectors(vectors)).astype(np.float64))

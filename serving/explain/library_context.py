"""Position of songs in a library, by the activations of a network: nearest fragments and a map of all.

The distance is the cosine distance of the vectors in the last hidden layer: 0 for the same direction, 1 if no unit is
active in both. The softmax that follows depends on a vector's direction, and its confidence on the vector's length. By
Euclidean distance, a faint bachata would be nearer to faint salsas than to a clear bachata.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import FIXED, GIVEN, Catalog, write_manifests
from tumbao.components.ingest.records import decode_image
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.splits import SPLIT_STRATEGIES
from tumbao.components.ingest.tables import table_rows
from tumbao.schema.errors import UserError
from tumbao.serving.explain.network import Activations, HiddenLayer
from tumbao.serving.model_info import ModelInfo


def training_side(info: ModelInfo, catalog: Catalog, library: RenderedLibrary) -> np.ndarray | None:
    """Repeat the split of a model and mark the training fragments of a library, bool [n].

    A catalogue's digest covers the path and content of every file and the side of every song, so it identifies both the
    library and the split. Returns None if the library is not the training library in the same state and place, or if
    its test songs were fixed by an earlier run.
    """
    for method in (*SPLIT_STRATEGIES, FIXED, GIVEN):
        with tempfile.TemporaryDirectory() as folder:  # a new one: fixed test songs depend on earlier splits
            try:
                manifests = write_manifests(
                    catalog,
                    Path(folder),
                    genres=info.genres,
                    split_by=info.split.protocol,
                    seed=info.split.seed,
                    spec=info.mel,
                    split_strategy=method,
                )
            except ValueError:  # this method cannot split the library, so the model used another
                continue
            if manifests.name == info.training_data.catalog_digest:
                return _marked(Path(folder) / manifests.name / "train.csv", library)
    return None


def _marked(manifest: Path, library: RenderedLibrary) -> np.ndarray:
    whole: set[str] = set()
    single: set[tuple[str, int]] = set()
    for row in table_rows(str(manifest)):
        if row["fragments"]:
            first = int(row["first"])
            single |= {(row["song"], first + int(index)) for index in row["fragments"].split()}
        else:
            whole.add(row["song"])
    numbered = zip(library.songs, library.numbers.tolist(), strict=True)
    return np.array([song in whole or (song, number) in single for song, number in numbered])


FRAGMENTS = 400
"""Largest number of fragments of a library that are used; a larger library is sampled evenly."""


@dataclasses.dataclass(frozen=True, eq=False)
class QueryFragment:
    """A fragment of a song to be placed in the library; `image` is its mel image, uint8 [height, width, 3]."""

    name: str
    path: Path
    start_seconds: float
    image: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class LibraryContext:
    """A library and the songs placed in it.

    `library` holds the n fragments that were used, `left_out` is the number of the others. `training` bool [n] marks
    training fragments; if they are not known, it is True everywhere and `training_known` is False. `activations` are
    those of the library, `query_activations` those of the m fragments in `queries` (None without any). `positions`
    float64 [n + m, 2] are map coordinates in [0, 1], the library first. `agreement` in [0, 1] is how often the nearest
    training fragment of a fragment outside training has the same genre; if training is not known, how often the nearest
    fragment of another song has it. It is None if there is nothing to compare.
    """

    catalog: Catalog
    library: RenderedLibrary
    left_out: int
    training: np.ndarray
    training_known: bool
    activations: Activations
    queries: tuple[QueryFragment, ...]
    query_activations: Activations | None
    positions: np.ndarray
    agreement: float | None

    @property
    def mistakes(self) -> np.ndarray:
        """Rows of the library that the network assigns to another genre, int64 [k]."""
        return np.flatnonzero(self.activations.answers != self.library.labels)


def library_context(
    hidden_layer: HiddenLayer,
    info: ModelInfo,
    catalog: Catalog,
    library: RenderedLibrary,
    queries: Sequence[QueryFragment],
    folder: Path,
) -> LibraryContext:
    """Compute activations, map and agreement of a library and the fragments in `queries`, which may be empty.

    The library must be rendered with the model's `MelSpec`; its activations are cached in `folder`. The result is
    deterministic. Raises ValueError if the library's genres are not those of the model, or if it has too few fragments
    for a map.
    """
    if library.genres != info.genres:
        raise UserError(
            f"Expected a library of the model's genres, {', '.join(info.genres)}. Received: {', '.join(library.genres)}"
        )
    training = training_side(info, catalog, library)
    rows = np.unique(np.linspace(0, len(library.songs) - 1, min(FRAGMENTS, len(library.songs))).round().astype(int))
    part = _part(library, rows)
    activations = _library_activations(hidden_layer, info, part, folder)
    query_activations = hidden_layer.compute((one.image for one in queries), len(queries), "songs") if queries else None
    vectors = (
        np.concatenate([activations.vectors, query_activations.vectors]) if query_activations else activations.vectors
    )
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
        positions=embedding_map(vectors),
        agreement=agreement(activations.vectors, part.labels, part.songs, trained),
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


def _library_activations(
    hidden_layer: HiddenLayer, info: ModelInfo, library: RenderedLibrary, folder: Path
) -> Activations:
    """Compute the activations of a library, or load them from the cache."""
    key = json.dumps([dataclasses.asdict(info), library.archives, library.members])
    file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not file.exists():
        activations = hidden_layer.compute(map(decode_image, library.images()), len(library.songs), "library")
        buffer = io.BytesIO()
        np.savez(buffer, vectors=activations.vectors, logits=activations.logits)
        write_whole(file, buffer.getvalue())
    with np.load(file) as arrays:
        return Activations(arrays["vectors"], arrays["logits"])


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
    queries = np.flatnonzero(~training) if not training.all() else np.arange(len(own))
    others = (names[queries, None] != names) & training
    comparable = others.any(axis=1)
    if not comparable.any():
        return None
    queries, others = queries[comparable], others[comparable]
    found = np.where(others, own[queries] @ own.T, -np.inf).argmax(axis=1)
    return float((labels[found] == labels[queries]).mean())


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

"""Which fragments of a library a model was trained on, by what it says of its split."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tumbao.components.ingest.library import FIXED, GIVEN, Catalog, write_manifests
from tumbao.components.ingest.manifest import table_rows
from tumbao.components.ingest.rendered_library import Library
from tumbao.components.ingest.splits import METHODS
from tumbao.serving.model_info import ModelInfo


def training_side(info: ModelInfo, catalog: Catalog, library: Library) -> np.ndarray | None:
    """Split a library as it was split for a model, and mark what went to training.

    A catalogue's digest holds every file's path and content and the side of every song, so it tells whether this is the
    library and this the split.

    Parameters
    ----------
    info : ModelInfo
        What the model says about itself.
    catalog : Catalog
        The library, looked through.
    library : Library
        Its fragments, length n.

    Returns
    -------
    training : np.ndarray [shape=(n,), dtype=bool] or None
        Whether the model was trained on each; None if this is not the library that it was trained on, as it was then
        and where it was, or if its test songs were fixed by an earlier run.
    """
    for method in (*METHODS, FIXED, GIVEN):
        with tempfile.TemporaryDirectory() as folder:  # of its own: fixed test songs depend on what was split before
            try:
                manifests = write_manifests(
                    catalog,
                    Path(folder),
                    genres=info.genres,
                    protocol=info.split.protocol,
                    seed=info.split.seed,
                    spec=info.mel,
                    method=method,
                )
            except ValueError:  # the library cannot be split so: it was not
                continue
            if manifests.name == info.training_data.catalog_digest:
                return _marked(Path(folder) / manifests.name / "train.csv", library)
    return None


def _marked(manifest: Path, library: Library) -> np.ndarray:
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

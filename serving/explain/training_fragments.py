"""Fragments of a library that a model was trained on, according to the split in its model info."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tumbao.components.ingest.library import FIXED, GIVEN, Catalog, write_manifests
from tumbao.components.ingest.manifest import table_rows
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.splits import SPLIT_STRATEGIES
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

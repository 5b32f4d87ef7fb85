"""Rhythm of composed songs, which join the training of the model `tumbao`: `python -m tumbao.pipeline.composed_songs`.

Run it (or `make composed`) after a change of the composer or of `trainer.rhythm`; the file is part of the package.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tumbao.datasets.demo.library import make_library
from tumbao.pipeline.preparation import prepare
from tumbao.schema.genres import GENRES
from tumbao.trainer.backbones import RHYTHM
from tumbao.trainer.linear import song_means
from tumbao.trainer.models.tumbao import COMPOSED_FILE

SONGS_PER_GENRE = 24
SEED = 11
"""Another seed than that of the demo library, whose songs must be new to a model that is tested on them."""


def main() -> None:
    """Compose the songs and write their features."""
    with tempfile.TemporaryDirectory(prefix="tumbao-composed-") as folder:
        library = Path(folder) / "library"
        make_library(library, SONGS_PER_GENRE, SEED)
        with prepare(library, Path(folder) / "workspace", GENRES, "auto", "", Path(folder) / "log") as prepared:
            (features,) = prepared.features(RHYTHM)
            rendered = prepared.library(RHYTHM.mel_spec)
        songs = song_means(np.asarray(features, np.float64), rendered.labels, rendered.songs)
    genres = np.array([rendered.genres[label] for label in songs.labels])
    np.savez_compressed(COMPOSED_FILE, features=songs.features.astype(np.float16), genres=genres)


if __name__ == "__main__":
    main()

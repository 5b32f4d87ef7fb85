"""What models answer to fragments of songs that they have not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tumbao.components.comparison.library import Library
from tumbao.components.comparison.rounds import Round
from tumbao.trainer.dataset import Arrays
from tumbao.trainer.peers.peer import Peer
from tumbao.trainer.run import learn
from tumbao.trainer.training import Training

BATCH = 256
"""Fragments that are answered at a time."""


def out_of_sample(
    model: Peer,
    training: Training,
    library: Library,
    arrays: list[np.ndarray],
    divisions: Sequence[Round],
    weights: Path | None,
) -> np.ndarray:
    """Train a head for each part of a cross-validation, and let it answer to that part.

    Parameters
    ----------
    model : Peer
        Whose head.
    training : Training
        Its settings.
    library : Library
        The fragments, length n.
    arrays : list of np.ndarray [shape=(n, *shape)]
        The trunk's features of the fragments, then of their masked copies.
    divisions : sequence of Round
        Each fragment is tested in one of them.
    weights : Path or None
        File of the trunk's weights, for a block of it that is tuned.

    Returns
    -------
    probabilities : np.ndarray [shape=(n, genres), dtype=float32]
        Of each fragment's genres, by a model that was trained without its song.
    """
    genres = len(library.genres)
    probabilities = np.full((len(library.songs), genres), np.nan, np.float32)
    for division in divisions:
        train = Arrays(arrays, library.labels, division.train, genres)
        val = Arrays(arrays[:1], library.labels, division.val, genres)
        shape = arrays[0].shape[1:]
        head, _ = learn(model, train, val, training, shape=shape, weights=str(weights) if weights else "")
        for begin in range(0, len(division.test), BATCH):
            rows = division.test[begin : begin + BATCH]
            probabilities[rows] = np.asarray(head(arrays[0][rows].astype(np.float32), training=False))
    return probabilities

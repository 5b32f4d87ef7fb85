"""A head is trained on one division of a library, and answers what it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tumbao.components.comparison.library import Library
from tumbao.components.comparison.rounds import Round
from tumbao.trainer.dataset import Arrays
from tumbao.trainer.peers.peer import Peer
from tumbao.trainer.run import learn
from tumbao.trainer.training import Training

BATCH = 256
"""Fragments that are answered at a time."""


def learn_division(
    model: Peer,
    training: Training,
    library: Library,
    arrays: Sequence[np.ndarray],
    division: Round,
    weights: Path | None,
) -> tuple[keras.Model, dict[str, Any]]:
    """Train a head on a division's training part, with its validation part to choose the epoch by.

    Parameters
    ----------
    model : Peer
        Whose head.
    training : Training
        Its settings.
    library : Library
        The fragments, length n.
    arrays : sequence of np.ndarray [shape=(n, *shape)]
        The trunk's features of the fragments, then of their masked copies.
    division : Round
        The parts.
    weights : Path or None
        File of the trunk's weights, for a block of it that is tuned.

    Returns
    -------
    head : keras.Model
        With its best weights.
    history : dict
        As `fit.fit` gives it.
    """
    keras.utils.clear_session()  # or the graphs of every training before would stay in memory
    genres = len(library.genres)
    train = Arrays(arrays, library.labels, division.train, genres)
    val = Arrays(arrays[:1], library.labels, division.val, genres)
    file = str(weights) if weights else ""
    return learn(model, train, val, training, shape=arrays[0].shape[1:], weights=file)


def answers(head: keras.Model, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Let a head answer.

    Parameters
    ----------
    head : keras.Model
        Of `learn_division`.
    features : np.ndarray [shape=(n, *shape)]
        The trunk's features of the fragments.
    rows : np.ndarray [shape=(m,), dtype=int]
        Which fragments, at least one.

    Returns
    -------
    probabilities : np.ndarray [shape=(m, genres), dtype=float32]
        A row for each.
    """
    parts = (rows[begin : begin + BATCH] for begin in range(0, len(rows), BATCH))
    found = [np.asarray(head(features[part].astype(np.float32), training=False)) for part in parts]
    return np.concatenate(found).astype(np.float32)

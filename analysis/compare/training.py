"""Heads are trained on divisions of a library, and answer what they were not trained on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tumbao.analysis.compare.folds import Fold
from tumbao.components.ingest.rendered_library import Library
from tumbao.trainer.dataset import Arrays
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.release_memory import forget
from tumbao.trainer.run import learn
from tumbao.trainer.training import Training

BATCH = 256
"""Fragments that are answered at a time."""


class Answered(NamedTuple):
    """What came of a training.

    Parameters
    ----------
    probabilities : np.ndarray [shape=(m, genres), dtype=float32]
        A row for each fragment of the division's test part.
    history : dict
        As `fit.fit` gives it.
    seconds : float
        How long the training took.
    """

    probabilities: np.ndarray
    history: dict[str, Any]
    seconds: float


def learn_and_answer(
    model: ModelSpec,
    training: Training,
    library: Library,
    arrays: Sequence[np.ndarray],
    division: Fold,
    weights: Path | None,
) -> Answered:
    """Train a head on a division's training part, let it answer to the test part, and forget it.

    Parameters
    ----------
    model : ModelSpec
        Whose head.
    training : Training
        Its settings.
    library : Library
        The fragments, length n.
    arrays : sequence of np.ndarray [shape=(n, *shape)]
        The backbone's features of the fragments, then of their masked copies.
    division : Fold
        The parts, none of them empty; the validation part is there to choose the epoch by.
    weights : Path or None
        File of the backbone's weights, for a block of it that is tuned.

    Returns
    -------
    Answered
        The answers of the head with its best weights.
    """
    keras.utils.clear_session()  # or the graphs of every training before would stay in memory
    genres, features = len(library.genres), arrays[0]
    train = Arrays(arrays, library.labels, division.train, genres)
    val = Arrays(arrays[:1], library.labels, division.val, genres)
    started = time.perf_counter()
    head, history = learn(
        model, train, val, training, shape=features.shape[1:], weights=str(weights) if weights else ""
    )
    seconds = time.perf_counter() - started
    parts = (division.test[begin : begin + BATCH] for begin in range(0, len(division.test), BATCH))
    found = [np.asarray(head(features[part].astype(np.float32), training=False)) for part in parts]
    probabilities = np.concatenate(found).astype(np.float32)
    forget(head)
    return Answered(probabilities, history, seconds)


def out_of_sample(
    model: ModelSpec,
    training: Training,
    library: Library,
    arrays: Sequence[np.ndarray],
    divisions: Sequence[Fold],
    weights: Path | None,
) -> np.ndarray:
    """Let every fragment be answered by a head that was trained without its song.

    Parameters
    ----------
    model : ModelSpec
        Whose head.
    training : Training
        Its settings.
    library : Library
        The fragments, length n.
    arrays : sequence of np.ndarray [shape=(n, *shape)]
        The backbone's features of the fragments, then of their masked copies.
    divisions : sequence of Fold
        Each fragment is tested in one of them.
    weights : Path or None
        File of the backbone's weights, for a block of it that is tuned.

    Returns
    -------
    probabilities : np.ndarray [shape=(n, genres), dtype=float32]
        A row for each fragment of the library.
    """
    probabilities = np.full((len(library.songs), len(library.genres)), np.nan, np.float32)
    for division in divisions:
        answered = learn_and_answer(model, training, library, arrays, division, weights)
        probabilities[division.test] = answered.probabilities
    return probabilities

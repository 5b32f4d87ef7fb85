"""Training of heads on splits of a library, and their answers to the test fragments."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tumbao.analysis.compare.folds import Fold
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.trainer.dataset import Arrays
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.release_memory import forget
from tumbao.trainer.run import learn
from tumbao.trainer.training import Training

BATCH = 256
"""Fragments per call of the head."""


class Answered(NamedTuple):
    """Result of a training.

    `probabilities` are float32 [m, genres] of the m test fragments.
    """

    probabilities: np.ndarray
    history: dict[str, Any]
    seconds: float


def learn_and_answer(
    model: ModelSpec,
    training: Training,
    library: RenderedLibrary,
    arrays: Sequence[np.ndarray],
    division: Fold,
    weights: Path | None,
) -> Answered:
    """Train a head on a split and classify its test part with the best weights.

    `arrays` are the backbone's features [n, ...] of the fragments, then of their masked copies. The validation part
    selects the epoch. `weights` is the file of the backbone's weights, for a head that fine-tunes one of its blocks.
    """
    keras.utils.clear_session()  # otherwise the graphs of earlier trainings stay in memory
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
    library: RenderedLibrary,
    arrays: Sequence[np.ndarray],
    divisions: Sequence[Fold],
    weights: Path | None,
) -> np.ndarray:
    """Classify every fragment with a head that was trained without its song; float32 [n, genres].

    Each fragment must be in the test part of one split, otherwise its row is NaN. For the other arguments, see
    `learn_and_answer`.
    """
    probabilities = np.full((len(library.songs), len(library.genres)), np.nan, np.float32)
    for division in divisions:
        answered = learn_and_answer(model, training, library, arrays, division, weights)
        probabilities[division.test] = answered.probabilities
    return probabilities

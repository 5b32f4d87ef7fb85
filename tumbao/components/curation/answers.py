"""What models answer to fragments of songs that they have not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tumbao.components.comparison.learning import answers, learn_division
from tumbao.components.comparison.library import Library
from tumbao.components.comparison.rounds import Round
from tumbao.trainer.peers.peer import Peer
from tumbao.trainer.training import Training


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
    probabilities = np.full((len(library.songs), len(library.genres)), np.nan, np.float32)
    for division in divisions:
        head, _ = learn_division(model, training, library, arrays, division, weights)
        probabilities[division.test] = answers(head, arrays[0], division.test)
    return probabilities

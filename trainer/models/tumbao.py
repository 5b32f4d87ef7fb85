"""Tumbao's own model: logistic regression on the rhythm of songs, see `trainer.rhythm` and `trainer.linear`.

Rhythm is what new recordings have in common with those of the training: features of timbre describe the mastering and
the codec of a source. Composed songs, whose features are part of the package, join the training where
cross-validation finds that they help.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tumbao.trainer.backbones import RHYTHM
from tumbao.trainer.dataset import Fragments, in_memory
from tumbao.trainer.lazy import keras
from tumbao.trainer.linear import Songs, empty_regression, fit_regression, song_means, to_keras
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.rhythm import beat_names, rhythm_names
from tumbao.trainer.training import Training

COMPOSED_FILE = Path(__file__).with_name("composed_songs.npz")
"""Rhythm of composed songs: `features` float16 [n, d] and `genres` str [n]. `make composed` writes it."""


GROUPS = (len(beat_names()), len(rhythm_names()) - len(beat_names()))
"""Numbers of beat columns and of patterns."""


def composed_songs(genres: Sequence[str]) -> Songs | None:
    """Read the composed songs with their labels; None if there are none of one of the genres."""
    with np.load(COMPOSED_FILE) as stored:
        features, names = stored["features"].astype(np.float64), stored["genres"].tolist()
    if not genres or {*genres} - {*names}:
        return None
    rows = [row for row, name in enumerate(names) if name in genres]
    return Songs(features[rows], np.array([genres.index(names[row]) for row in rows]))


def _train(
    train: Fragments, val: Fragments, training: Training, genres: Sequence[str]
) -> tuple[keras.Model, dict[str, Any]]:
    """Fit the regression to the songs of both splits: its settings come from cross-validation over all of them.

    So do the validation metrics, which are of songs; where a genre has one song, they are those of the songs fitted to.
    The history has a single epoch, and `fit`: the numbers of `songs`, of `folds` (0 without cross-validation) and
    of `composed_songs` that joined the training, their `composed_weight` relative to the songs, and the `penalty`.
    """
    (features, labels), (val_features, val_labels) = in_memory(train), in_memory(val)
    features, labels = np.concatenate([features, val_features]), np.concatenate([labels, val_labels])
    songs = song_means(features, labels, [*train.songs, *val.songs])
    composed = composed_songs(genres)
    regression = fit_regression(songs, len(train.counts), GROUPS, composed, training.seed)
    head = to_keras(regression)
    head.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    loss, accuracy = head.evaluate(features, labels, verbose=0)
    epoch = {"loss": loss, "accuracy": accuracy, "val_loss": loss, "val_accuracy": accuracy}
    if regression.log_loss is not None and regression.probabilities is not None:
        right = regression.probabilities.argmax(axis=1) == songs.labels
        epoch |= {"val_loss": regression.log_loss, "val_accuracy": float(right.mean())}
    fit = {
        "songs": len(songs.labels),
        "folds": regression.folds,
        "penalty": regression.penalty,
        "composed_songs": len(composed.labels) if composed and regression.composed_weight else 0,
        "composed_weight": regression.composed_weight if composed else 0.0,
    }
    return head, {"epochs": [epoch], "best_epoch": 1, "class_weights": None, "fit": fit}


def _empty(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    return empty_regression(shape[0], genres=genres)


TUMBAO = ModelSpec(
    name="tumbao",
    after="Holzapfel & Stylianou's scale transform",
    summary="logistic regression on the rhythm of songs",
    backbone=RHYTHM,
    head=_empty,
    precisions=("float16",),  # 8-bit tables of lags and waves would round the patterns
    train=_train,
    used=("augment", "seed"),
)

"""Training of a head on cached features by gradient descent, with the weights of the best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tumbao.components.ingest import progress
from tumbao.schema.errors import UserError
from tumbao.schema.hierarchy import has_subgenres
from tumbao.trainer.dataset import Fragments, class_weights, mixed, weighted
from tumbao.trainer.training import Training
from tumbao.trainer.two_levels import TwoLevelCrossentropy

_FUSED = {
    keras.layers.Dense,
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.InputLayer,
}
"""Layers that XLA speeds up on a CPU too: with the paper's 21 million weights, a step takes 0.6 of the time."""

TUNED_RATE = 0.1
"""Learning rate while the backbone's last block is fine-tuned, as a share of the initial one."""


class KeepBest(keras.callbacks.Callback):
    """Keep the weights of the epoch with the highest validation accuracy; among equals, with the lowest loss.

    An instance may be used in several calls of `fit`: the best epoch is that of all calls, and patience is counted anew
    in each. Training stops after `patience` epochs without improvement; 0 never stops it early.
    """

    def __init__(self, patience: int = 0) -> None:
        super().__init__()
        self.epoch = -1
        self._patience = patience
        self._without_better = 0
        self._best = (-math.inf, -math.inf)
        self._weights: list[np.ndarray] = []

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Reset the count of epochs without improvement."""
        self._without_better = 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Compare the epoch (`val_accuracy` and `val_loss`) with the best one so far."""
        logs = logs or {}
        score = (logs["val_accuracy"], -logs["val_loss"])
        if math.isfinite(logs["val_loss"]) and score > self._best:
            self.epoch, self._best, self._weights = epoch, score, self.model.get_weights()
            self._without_better = 0
            return
        self._without_better += 1
        if self._patience and self._without_better >= self._patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Restore the best weights; raise UserError if the loss was not finite in any epoch."""
        if self.epoch < 0:
            raise UserError(
                "The loss was not a number in any epoch, so there are no best weights. "
                "Choose a smaller --learning-rate, or look at the mel images in the report."
            )
        self.model.set_weights(self._weights)


class _Report(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        progress.advance("train")


def fit(
    model: keras.Model, train: Fragments, val: Fragments, training: Training, genres: Sequence[str] = ()
) -> dict[str, Any]:
    """Train a head and restore the weights of its best epoch.

    With `training.fine_tune`, the head's layers of VGG-16's last block are frozen at first. `genres` are the names of
    the outputs: with sub-genres the loss is that of both levels, see `two_levels`.

    The history has `epochs` (a list with loss, accuracy, val_loss, val_accuracy), `best_epoch` (from 1) and
    `class_weights`.
    """
    counts = train.counts
    weights = class_weights(counts) if training.class_weights == "auto" and len(set(counts)) > 1 else None
    batches = train.batches(training.batch, training.seed)
    steps = len(batches)
    if training.mixup:
        batches = mixed(batches, training.mixup, training.seed)
    if weights:
        batches = weighted(batches, weights)
    progress.start("train", (training.epochs + training.fine_tune) * steps)
    best = KeepBest(training.patience)

    def epochs(first: int, count: int, rate: float) -> list[dict[str, float]]:
        _compile(model, training, rate, count * steps, genres)
        history = model.fit(
            batches,
            validation_data=val.batches(training.batch),
            initial_epoch=first,
            epochs=first + count,
            callbacks=[best, _Report()],
            verbose=0,
        ).history
        return [dict(zip(history, epoch, strict=True)) for epoch in zip(*history.values(), strict=True)]

    figures = epochs(0, training.epochs, training.learning_rate)
    if training.fine_tune:
        for layer in model.layers:
            layer.trainable = True
        figures += epochs(len(figures), training.fine_tune, TUNED_RATE * training.learning_rate)
    return {"epochs": figures, "best_epoch": best.epoch + 1, "class_weights": weights}


def _compile(model: keras.Model, training: Training, rate: float, steps: int, genres: Sequence[str]) -> None:
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps) if training.schedule == "cosine" else rate
    smoothing = training.label_smoothing
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=TwoLevelCrossentropy(genres, smoothing)
        if has_subgenres(genres)
        else keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
        metrics=["accuracy"],
        jit_compile=all(type(layer) in _FUSED for layer in model.layers) or "auto",
    )

"""Training of a head on cached features: by gradient descent with the weights of the best epoch, or in its own way."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tumbao.components.ingest import progress
from tumbao.schema.errors import UserError
from tumbao.schema.hierarchy import grouped, has_subgenres
from tumbao.trainer.dataset import Fragments, class_weights, mixed, weighted
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import last_block_tensors
from tumbao.trainer.weights import weights_file

HEAD_FILE = "head.keras"
"""The head with its best weights, in the ModelRun artefact; `--resume` starts from it."""

HISTORY_FILE = "history.json"
"""Loss and accuracy by epoch, in the ModelRun artefact."""

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


def two_level_crossentropy(leaves: Sequence[str], label_smoothing: float = 0.0) -> Callable[[Any, Any], Any]:
    """Return a loss: the mean of the cross-entropies of sub-genres and of genres, in nats, float32 [n].

    A genre's probability and its label are sums over its sub-genres, so labels may be soft (mixup). Label smoothing
    spreads its share over all sub-genres on one level, over all genres on the other. `leaves` names the outputs.
    """
    genres, genre_of = grouped(leaves)

    def loss(true: Any, predicted: Any) -> Any:
        to_genres = ops.one_hot(genre_of.tolist(), len(genres), dtype=predicted.dtype)  # [leaves, genres]
        levels = ((true, predicted), (ops.matmul(true, to_genres), ops.matmul(predicted, to_genres)))
        of_leaves, of_genres = (
            keras.losses.categorical_crossentropy(*level, label_smoothing=label_smoothing) for level in levels
        )
        return (of_leaves + of_genres) / 2

    return loss


class KeepBest(keras.callbacks.Callback):
    """Keep the weights of the epoch with the highest validation accuracy; among equals, with the lowest loss.

    An instance may be used in several calls of `fit`: the best epoch is that of all calls, and patience is counted anew
    in each. Training stops after `patience` epochs without improvement; 0 never stops it early.
    """

    def __init__(self, patience: int = 0) -> None:
        super().__init__()
        self.epoch = -1
        self._patience = patience
        self._epochs_without_improvement = 0
        self._best = (-math.inf, -math.inf)
        self._weights: list[np.ndarray] = []

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Reset the count of epochs without improvement."""
        self._epochs_without_improvement = 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Compare the epoch (`val_accuracy` and `val_loss`) with the best one so far."""
        logs = logs or {}
        score = (logs["val_accuracy"], -logs["val_loss"])
        if math.isfinite(logs["val_loss"]) and score > self._best:
            self.epoch, self._best, self._weights = epoch, score, self.model.get_weights()
            self._epochs_without_improvement = 0
            return
        self._epochs_without_improvement += 1
        if self._patience and self._epochs_without_improvement >= self._patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Restore the best weights; raise UserError if the loss was not finite in any epoch."""
        if self.epoch < 0:
            raise UserError(
                "The loss was not a number in any epoch, so there are no best weights. "
                "Use a smaller --learning-rate, or check the mel images in the report."
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
    the outputs: with sub-genres the loss is `two_level_crossentropy`.

    The history has `epochs` (a list with loss, accuracy, val_loss, val_accuracy), `best_epoch` (from 1) and
    `class_weights`.
    """
    weights = class_weights(train.counts) if training.class_weights == "auto" else None
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
            shuffle=False,  # `batches` shuffles
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
        loss=two_level_crossentropy(genres, smoothing)
        if has_subgenres(genres)
        else keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
        metrics=["accuracy"],
        jit_compile=all(type(layer) in _FUSED for layer in model.layers) or "auto",
    )


def train_head(
    model: ModelSpec,
    train: Fragments,
    val: Fragments,
    training: Training,
    *,
    shape: tuple[int, ...],
    weights: str = "",
    resume: str = "",
    genres: Sequence[str] = (),
) -> tuple[keras.Model, dict[str, Any]]:
    """Build a head and train it; return it with its best weights, and the history as from `fit`.

    `shape` is that of one fragment's features. `weights` is the file of the backbone's weights, for a block that is
    fine-tuned; empty for random ones. `resume` is the file of a head to start from; one with other shapes raises
    ValueError.
    """
    keras.utils.set_random_seed(training.seed)
    if model.train:
        return model.train(train, val, training, genres)
    head = model.head_for(shape, len(train.counts), training)
    if training.fine_tune:
        for layer, tensors in last_block_tensors(weights_file(weights)).items():
            head.get_layer(layer).set_weights(tensors)
    if resume:
        tensors = load_head(resume).get_weights()
        if [one.shape for one in tensors] != [one.shape for one in head.get_weights()]:
            raise ValueError(
                "--resume needs a run with the same model, genres and units. "
                f"Received: a head with weights of the shapes {[one.shape for one in tensors]}. Remove --resume."
            )
        head.set_weights(tensors)
    return head, fit(head, train, val, training, genres)


def load_head(file: str) -> keras.Model:
    """Load a head (`HEAD_FILE`): features float32 [n, *shape] → probabilities [n, genres]."""
    from tumbao.trainer import boosting  # noqa: F401 - registers its layer

    with tempfile.TemporaryDirectory(prefix="tumbao-head-") as folder:
        local = f"{folder}/{HEAD_FILE}"
        tf.io.gfile.copy(file, local)
        return keras.models.load_model(local, compile=False)


def release_memory(head: keras.Model) -> None:
    """Release the memory of a head and its optimizer; it cannot be used afterwards.

    A graph of TensorFlow 2.16 and its operations reference each other in a way that Python's garbage collector does not
    see. So the graphs of a training outlive it, and with them the variables they read: 290 MB with the paper's head.
    """
    optimizer = getattr(head, "optimizer", None)  # there is none without gradient training
    for variable in [*head.variables, *(optimizer.variables if optimizer else ())]:
        tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=tf.zeros([0], variable.dtype))

"""The Trainer's entry: trains the head on cached features, joins it with the backbone and saves both for serving."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tumbao import progress
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.signatures import save
from tumbao.trainer import dataset
from tumbao.trainer.backbone import backbone
from tumbao.trainer.head import head
from tumbao.trainer.model import joined

if TYPE_CHECKING:
    from tfx.v1.components import FnArgs

HEAD_FILE = "head.weights.h5"
"""The best weights of the head, in the ModelRun artifact; `--resume` starts from them."""

HISTORY_FILE = "history.json"
"""Loss and accuracy by epoch, in the ModelRun artifact."""


class KeepBest(keras.callbacks.Callback):
    """Keep the weights of the epoch with the highest validation accuracy; among equals, with the lowest loss."""

    def __init__(self) -> None:
        super().__init__()
        self.epoch = -1
        self._best = (-math.inf, -math.inf)
        self._weights: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Compare the epoch with the best one so far.

        Parameters
        ----------
        epoch : int
            Index of the epoch, from 0.
        logs : mapping of str to float
            Keras' figures, with `val_accuracy` and `val_loss`.
        """
        logs = logs or {}
        score = (logs["val_accuracy"], -logs["val_loss"])
        if math.isfinite(logs["val_loss"]) and score > self._best:
            self.epoch, self._best, self._weights = epoch, score, self.model.get_weights()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Put the best weights back.

        Parameters
        ----------
        logs : mapping of str to float
            Not used.
        """
        if self.epoch < 0:
            raise ValueError(
                "The loss was not a number in any epoch, so there are no best weights. "
                "Choose a smaller --learning-rate, or look at the mel images in the report."
            )
        self.model.set_weights(self._weights)


class _Report(keras.callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        progress.advance("train")


def fit(
    train: list[str], val: list[str], *, config: Mapping[str, Any], shape: tuple[int, int, int]
) -> tuple[keras.Model, dict[str, Any]]:
    """Train the head.

    Parameters
    ----------
    train, val : list of str
        Glob patterns of the records of features.
    config : mapping
        `genres`, `epochs`, `batch`, `learning_rate`, `seed`, `class_weights` (auto or none) and `resume` (a file of
        head weights, or empty).
    shape : tuple of int
        Shape of the backbone's output.

    Returns
    -------
    model : keras.Model
        The head with its best weights.
    history : dict
        `epochs` (a list with loss, accuracy, val_loss, val_accuracy), `best_epoch` (from 1) and `class_weights`.
    """
    genres = len(config["genres"])
    keras.utils.set_random_seed(config["seed"])
    model = head(genres, config["seed"])
    if config["resume"]:
        model.load_weights(config["resume"])
    model.compile(
        optimizer=keras.optimizers.Adam(config["learning_rate"]),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    counts = dataset.label_counts(train, genres, shape)
    weights = dataset.class_weights(counts) if config["class_weights"] == "auto" and len(set(counts)) > 1 else None
    batches = dataset.dataset(
        train,
        genres=genres,
        shape=shape,
        batch=config["batch"],
        records=int(counts.sum()),
        shuffle_seed=config["seed"],
    )
    val_records = int(dataset.label_counts(val, genres, shape).sum())
    val_batches = dataset.dataset(val, genres=genres, shape=shape, batch=config["batch"], records=val_records)
    progress.start("train", config["epochs"] * len(batches))
    best = KeepBest()
    history = model.fit(
        batches,
        validation_data=val_batches,
        epochs=config["epochs"],
        class_weight=weights,
        callbacks=[best, _Report()],
        verbose=0,
    )
    figures = [dict(zip(history.history, epoch, strict=True)) for epoch in zip(*history.history.values(), strict=True)]
    return model, {"epochs": figures, "best_epoch": best.epoch + 1, "class_weights": weights}


def run_fn(fn_args: FnArgs) -> None:
    """Train, join and save; TFX's Trainer calls this.

    Parameters
    ----------
    fn_args : FnArgs
        TFX's arguments; `custom_config` holds what `fit` reads, and `weights`: the backbone's file, empty for random
        ones.
    """
    config = fn_args.custom_config
    trunk = backbone(Path(config["weights"]) if config["weights"] else None, "float32")
    model, history = fit(fn_args.train_files, fn_args.eval_files, config=config, shape=trunk.output_shape[1:])
    run = PurePosixPath(fn_args.model_run_dir)
    tf.io.gfile.makedirs(str(run))
    model.save_weights(str(run / HEAD_FILE))
    with tf.io.gfile.GFile(str(run / HISTORY_FILE), "w") as file:
        file.write(json.dumps(history, indent=1))
    save(joined(trunk, model), fn_args.serving_model_dir, config["genres"], MelSpec(**config["mel_spec"]))

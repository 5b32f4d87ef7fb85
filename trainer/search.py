"""Hyperparameter search for a head; trials are saved, so that an interrupted search can continue."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras_tuner
import numpy as np
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus

from tumbao.components.ingest import progress
from tumbao.serving.calibration import log_loss
from tumbao.trainer.dataset import Fragments
from tumbao.trainer.fit import release_memory
from tumbao.trainer.training import Training

if TYPE_CHECKING:
    import keras

RIGHT_FILE = "right.json"
"""In each trial's folder: whether it classifies each validation fragment correctly, in the order of the records."""

ACCURACY, LOSS = "val_accuracy", "val_loss"
"""Metrics of a trial: accuracy, and cross-entropy without the L2 penalties."""

MAX_LAYERS = 3
"""Maximum number of dense layers before the softmax."""

UNITS = (16, 32, 64, 128, 256, 512)
DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
L2 = (0.0, 1e-5, 1e-4, 1e-3)
LEARNING_RATE = (1e-4, 3e-3)
"""Range, sampled log-uniformly."""

TrainHead = Callable[[Training], "tuple[keras.Model, dict[str, Any]]"]
"""Settings → trained head with its best weights, and history."""


def search_space() -> keras_tuner.HyperParameters:
    """Create the search space: layers; units_1 and so on for each layer; dropout; l2; learning_rate."""
    space = keras_tuner.HyperParameters()
    space.Int("layers", 0, MAX_LAYERS)
    for layer in range(1, MAX_LAYERS + 1):
        deep_enough = list(range(layer, MAX_LAYERS + 1))
        space.Choice(f"units_{layer}", UNITS, parent_name="layers", parent_values=deep_enough)
    space.Choice("dropout", DROPOUT)
    space.Choice("l2", L2)
    space.Float("learning_rate", *LEARNING_RATE, sampling="log")
    return space


def values_of(training: Training) -> dict[str, Any]:
    """Return the values of a training by the names of `search_space`; they need not be among its choices."""
    return {
        "layers": len(training.units),
        **{f"units_{layer}": width for layer, width in enumerate(training.units, start=1)},
        "dropout": training.dropout,
        "l2": training.l2,
        "learning_rate": training.learning_rate,
    }


def with_values(training: Training, values: Mapping[str, Any]) -> Training:
    """Return a copy of a training with values by the names of `search_space`."""
    return dataclasses.replace(
        training,
        units=tuple(values[f"units_{layer}"] for layer in range(1, values["layers"] + 1)),
        dropout=values["dropout"],
        l2=values["l2"],
        learning_rate=values["learning_rate"],
    )


def initial_trials(training: Training) -> list[dict[str, Any]]:
    """Return the settings tried before random ones: the paper's, then the given ones if they differ and fit."""
    paper, given = values_of(Training()), values_of(training)
    return [paper] if given == paper or len(training.units) > MAX_LAYERS else [paper, given]


class SeededSearch(keras_tuner.oracles.RandomSearchOracle):
    """Random search, reproducible for the same seed, that begins with given settings.

    The best trial has the highest validation accuracy; among equals, the lowest cross-entropy; among these, the
    earliest. `first` are the settings tried first, by the names of `search_space`.
    """

    def __init__(self, first: Sequence[dict[str, Any]], trials: int, seed: int) -> None:
        objective = keras_tuner.Objective(ACCURACY, "max")
        # 0 would mean no seed
        super().__init__(objective, max_trials=trials, seed=seed + 1, hyperparameters=search_space())
        self.verbose = 0
        self._first = first

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the status and the values of the next trial."""
        number = len(self.start_order)
        if number < len(self._first):
            return {"status": TrialStatus.RUNNING, "values": dict(self._first[number])}
        return super().populate_space(trial_id)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the best completed trials, best first, of the first `max_trials` of the folder.

        The folder may hold more trials than are requested now, from an earlier search; the excess ones are ignored.
        """
        started = [self.trials[name] for name in self.start_order[: self.max_trials]]
        ended = [one for one in started if one.status == TrialStatus.COMPLETED]
        ended.sort(key=lambda one: (-one.score, one.metrics.get_best_value(LOSS)))
        return ended[:num_trials]


class HeadTuner(BaseTuner):
    """Train a head for each trial and measure it on the validation split.

    `training` has the settings that are not searched; `folder` holds the saved search; `overwrite` discards it.
    """

    def __init__(
        self,
        oracle: SeededSearch,
        train: TrainHead,
        val: Fragments,
        training: Training,
        folder: str,
        overwrite: bool = False,
    ) -> None:
        self.training = training
        self._train, self._val = train, val
        directory, _, name = folder.rpartition("/")
        super().__init__(oracle, directory=directory, project_name=name, overwrite=overwrite)

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Train a head with the trial's settings and return its `ACCURACY` and `LOSS`."""
        head, _ = self._train(with_values(self.training, trial.hyperparameters.values))
        batches = self._val.batches(256).as_numpy_iterator()
        predictions = [(head.predict_on_batch(features), onehot.argmax(axis=1)) for features, onehot in batches]
        probabilities, labels = (np.concatenate(parts) for parts in zip(*predictions, strict=True))
        release_memory(head)
        right = probabilities.argmax(axis=1) == labels
        with tf.io.gfile.GFile(f"{self.get_trial_dir(trial.trial_id)}/{RIGHT_FILE}", "w") as file:
            file.write(json.dumps(right.astype(int).tolist()))
        return {ACCURACY: float(right.mean()), LOSS: log_loss(probabilities, labels)}

    def on_trial_end(self, trial: Trial) -> None:
        """Save the result of a trial and report progress."""
        super().on_trial_end(trial)
        progress.report("tune", min(len(self.oracle.end_order), self.oracle.max_trials), self.oracle.max_trials)

    def on_search_end(self) -> None:
        """Raise ValueError if no trial was completed."""
        if not self.oracle.get_best_trials():
            raise ValueError(
                f"All {self.oracle.max_trials} trials of the search failed; the error of the first one: "
                f"{self.oracle.trials[self.oracle.start_order[0]].message!r}"
            )


def tuner(train: TrainHead, val: Fragments, training: Training, *, trials: int, folder: str) -> HeadTuner:
    """Start a search, or continue an interrupted one; its `search()` runs the remaining trials.

    `training` has the given settings, and its seed is that of the search; `trials` is the total number, so a larger one
    than before continues where the search ended. Data or code that differ need another `folder`.
    """

    def make(*, overwrite: bool) -> HeadTuner:
        oracle = SeededSearch(initial_trials(training), trials, training.seed)
        return HeadTuner(oracle, train, val, training, folder, overwrite)

    try:
        return make(overwrite=False)
    except json.JSONDecodeError:
        logging.warning("The search in %s was interrupted while its state was written; it starts again.", folder)
        return make(overwrite=True)

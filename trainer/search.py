"""A search for better settings of a head, trial by trial; what was tried is kept, so that a search goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras_tuner
import numpy as np
import tensorflow as tf
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import Trial, TrialStatus

from tumbao.components.ingest import progress
from tumbao.serving.calibration import log_loss
from tumbao.trainer.dataset import Fragments
from tumbao.trainer.release_memory import forget
from tumbao.trainer.search_space import space, values_of, with_values
from tumbao.trainer.training import Training

if TYPE_CHECKING:
    import keras

RIGHT_FILE = "right.json"
"""Beside each trial: whether it answers each validation fragment rightly, in the order of the records."""

ACCURACY, LOSS = "val_accuracy", "val_loss"
"""What is measured of a trial: share of right answers, and cross-entropy without penalties for kernels."""

PREDICT_BATCH = 256

Learn = Callable[[Training], "tuple[keras.Model, dict[str, Any]]"]
"""Settings → trained head with its best weights, and history."""


def firsts(training: Training) -> list[dict[str, Any]]:
    """Give the settings that a search tries before it draws: the paper's, and those it was asked with.

    Parameters
    ----------
    training : Training
        The settings it was asked with.

    Returns
    -------
    values : list of dict
        By the names of `space`, the paper's first; one where both are equal, or where the asked ones do not fit.
    """
    paper, asked = values_of(Training()), values_of(training)
    return [values for values in ([paper] if asked == paper else [paper, asked]) if values]


class Drawing(keras_tuner.oracles.RandomSearchOracle):
    """Draws settings at random, always the same for the same seed, after the first ones.

    The best trial is the one with the highest validation accuracy; among equals, with the lowest cross-entropy; among
    these, the earliest.

    Parameters
    ----------
    first : sequence of dict
        What is tried first, by the names of `space`.
    trials : int
        How many trials there are, at least 1.
    seed : int
        What is drawn.
    """

    def __init__(self, first: Sequence[dict[str, Any]], trials: int, seed: int) -> None:
        objective = keras_tuner.Objective(ACCURACY, "max")
        # 0 would stand for no seed
        super().__init__(objective, max_trials=trials, seed=seed + 1, hyperparameters=space())
        self.verbose = 0
        self._first = first

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Give the settings of the next trial.

        Parameters
        ----------
        trial_id : str
            Its name.

        Returns
        -------
        dict
            `status`, and `values` by the names of `space`.
        """
        number = len(self.start_order)
        if number < len(self._first):
            return {"status": TrialStatus.RUNNING, "values": dict(self._first[number])}
        return super().populate_space(trial_id)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Rank the trials that came to an end.

        Parameters
        ----------
        num_trials : int
            How many are wanted.

        Returns
        -------
        list of Trial
            The best first; of a folder where more was tried before than is asked for now, only as many as are asked.
        """
        asked = [self.trials[name] for name in self.start_order[: self.max_trials]]
        ended = [one for one in asked if one.status == TrialStatus.COMPLETED]
        ended.sort(key=lambda one: (-one.score, one.metrics.get_best_value(LOSS)))
        return ended[:num_trials]


class HeadTuner(BaseTuner):
    """Trains a head for each trial and measures it on the validation split.

    Parameters
    ----------
    drawing : Drawing
        What is tried.
    learn : Learn
        How a head is trained.
    val : Fragments
        The validation split.
    training : Training
        The settings that are not searched for.
    folder : str
        Where the search is kept.
    overwrite : bool
        Whether to forget what is kept there.
    """

    def __init__(
        self, drawing: Drawing, learn: Learn, val: Fragments, training: Training, folder: str, overwrite: bool = False
    ) -> None:
        self.training = training
        self._learn, self._val = learn, val
        directory, _, name = folder.rpartition("/")
        super().__init__(drawing, directory=directory, project_name=name, overwrite=overwrite)

    def on_search_begin(self) -> None:
        """Report how many trials are done already."""
        self._report()

    def run_trial(self, trial: Trial) -> dict[str, float]:
        """Train and measure.

        Parameters
        ----------
        trial : Trial
            With the settings.

        Returns
        -------
        dict of str to float
            `ACCURACY` and `LOSS`.
        """
        head, _ = self._learn(with_values(self.training, trial.hyperparameters.values))
        batches = self._val.batches(PREDICT_BATCH).as_numpy_iterator()
        answers = [(head.predict_on_batch(features), onehot.argmax(axis=1)) for features, onehot in batches]
        probabilities, labels = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        forget(head)
        right = probabilities.argmax(axis=1) == labels
        with tf.io.gfile.GFile(f"{self.get_trial_dir(trial.trial_id)}/{RIGHT_FILE}", "w") as file:
            file.write(json.dumps(right.astype(int).tolist()))
        return {ACCURACY: float(right.mean()), LOSS: log_loss(probabilities, labels)}

    def on_trial_end(self, trial: Trial) -> None:
        """Keep what came of a trial, and report it.

        Parameters
        ----------
        trial : Trial
            The trial.
        """
        super().on_trial_end(trial)
        self._report()

    def on_search_end(self) -> None:
        """Look whether anything came of the search."""
        if not self.oracle.get_best_trials():
            raise ValueError(
                f"Expected one of {self.oracle.max_trials} trials to come to its end. Received: none; the first says "
                f"{self.oracle.trials[self.oracle.start_order[0]].message!r}"
            )

    def _report(self) -> None:
        done = len(self.oracle.end_order)
        progress.report("tune", min(done, self.oracle.max_trials), self.oracle.max_trials)


def tuner(learn: Learn, val: Fragments, training: Training, *, trials: int, folder: str) -> HeadTuner:
    """Begin a search, or go on with one where it was interrupted.

    Parameters
    ----------
    learn : Learn
        How a head is trained.
    val : Fragments
        The validation split.
    training : Training
        The settings it is asked with; its seed is that of what is drawn, too.
    trials : int
        How many trials there are in all, at least 1; more than before go on where the search ended.
    folder : str
        Where the search is kept; another one for other data or code.

    Returns
    -------
    HeadTuner
        Its `search()` runs what is left.
    """

    def make(*, overwrite: bool) -> HeadTuner:
        drawing = Drawing(firsts(training), trials, training.seed)
        return HeadTuner(drawing, learn, val, training, folder, overwrite)

    try:
        return make(overwrite=False)
    except json.JSONDecodeError:
        logging.warning("The search in %s was killed while it wrote; it starts anew.", folder)
        return make(overwrite=True)

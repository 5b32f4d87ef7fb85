"""Search space of the hyperparameter search, and its conversion from and to `Training`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tumbao.trainer.training import Training

if TYPE_CHECKING:
    import keras_tuner

MOST_LAYERS = 3
"""Maximum number of dense layers before the softmax."""

UNITS = (16, 32, 64, 128, 256, 512)
"""Widths of a dense layer."""

DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Dropout rates."""

L2 = (0.0, 1e-5, 1e-4, 1e-3)
"""Weights of the L2 penalty on kernels."""

LEARNING_RATE = (1e-4, 3e-3)
"""Range of Adam's learning rate, sampled log-uniformly."""


def space() -> keras_tuner.HyperParameters:
    """Create the search space: layers; units_1 and so on for each layer; dropout; l2; learning_rate."""
    import keras_tuner

    choices = keras_tuner.HyperParameters()
    choices.Int("layers", 0, MOST_LAYERS)
    for layer in range(1, MOST_LAYERS + 1):
        deep_enough = list(range(layer, MOST_LAYERS + 1))
        choices.Choice(f"units_{layer}", UNITS, parent_name="layers", parent_values=deep_enough)
    choices.Choice("dropout", DROPOUT)
    choices.Choice("l2", L2)
    choices.Float("learning_rate", *LEARNING_RATE, sampling="log")
    return choices


def values_of(training: Training) -> dict[str, Any] | None:
    """Return the values of a training by the names of `space`; None if it has too many layers.

    Widths and dropout need not be among the choices of the search.
    """
    if len(training.units) > MOST_LAYERS:
        return None
    return {
        "layers": len(training.units),
        **{f"units_{layer}": width for layer, width in enumerate(training.units, start=1)},
        "dropout": training.dropout,
        "l2": training.l2,
        "learning_rate": training.learning_rate,
    }


def with_values(training: Training, values: Mapping[str, Any]) -> Training:
    """Return a copy of a training with values by the names of `space`."""
    return dataclasses.replace(
        training,
        units=tuple(values[f"units_{layer}"] for layer in range(1, values["layers"] + 1)),
        dropout=values["dropout"],
        l2=values["l2"],
        learning_rate=values["learning_rate"],
    )

"""What a search for better settings may choose, and how it stands in `Training`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tumbao.trainer.training import Training

if TYPE_CHECKING:
    import keras_tuner

MOST_LAYERS = 3
"""Dense layers before the softmax, at most."""

UNITS = (16, 32, 64, 128, 256, 512)
"""Widths of a dense layer."""

DROPOUT = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares that are dropped."""

L2 = (0.0, 1e-5, 1e-4, 1e-3)
"""Weights of the squared kernels in the loss."""

LEARNING_RATE = (1e-4, 3e-3)
"""The lowest and the highest of Adam's; between them their logarithms are equally likely."""


def space() -> keras_tuner.HyperParameters:
    """Give what may be chosen.

    Returns
    -------
    keras_tuner.HyperParameters
        Named layers; units_1 and so on, as many as there are layers; dropout; l2; learning_rate.
    """
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
    """Say in the search's words how a training is set.

    Parameters
    ----------
    training : Training
        The settings.

    Returns
    -------
    values : dict or None
        By the names of `space`; None where there are more layers than it has. Widths and shares may be others than
        the search would choose.
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
    """Set a training as a search has chosen.

    Parameters
    ----------
    training : Training
        The settings that are not searched for.
    values : mapping of str to Any
        By the names of `space`.

    Returns
    -------
    training : Training
        All settings.

    Examples
    --------
    >>> chosen = {"layers": 1, "units_1": 64, "dropout": 0.3, "l2": 0.0, "learning_rate": 0.001}
    >>> with_values(Training(epochs=9), chosen) == Training(epochs=9, units=(64,), dropout=0.3)
    True
    """
    return dataclasses.replace(
        training,
        units=tuple(values[f"units_{layer}"] for layer in range(1, values["layers"] + 1)),
        dropout=values["dropout"],
        l2=values["l2"],
        learning_rate=values["learning_rate"],
    )

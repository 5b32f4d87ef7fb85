"""The paper's head, dense layers and a softmax over the genres, and layers shared with other heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tumbao.trainer.training import Training

if TYPE_CHECKING:
    import keras


def head(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build the paper's head: features float32 [n, *shape] → probabilities [n, genres], always in float32.

    `training` has `units` (512 and 64 in the paper), `dropout`, `l2` and `seed`, from which the initial weights follow.
    """
    import keras

    return keras.Sequential(
        [features(shape), keras.layers.Flatten(name="flatten", dtype="float32"), *dense_layers(genres, training)],
        name="head",
    )


def features(shape: tuple[int, ...]) -> Any:
    """Create the float32 input "features" of a head; `shape` is that of one fragment's features."""
    import keras

    return keras.Input(shape, dtype="float32", name="features")


def dense_layers(genres: int, training: Training) -> list[keras.layers.Layer]:
    """Build the end of a head: a dense layer for each of `units`, each followed by its dropout, and the softmax."""
    import keras

    def dense(index: int, width: int, activation: str) -> keras.layers.Layer:
        return keras.layers.Dense(
            width,
            activation,
            kernel_initializer=keras.initializers.GlorotUniform(training.seed + index),
            kernel_regularizer=keras.regularizers.L2(training.l2) if training.l2 else None,
            name=f"dense_{index}" if index else "dense",
            dtype="float32",
        )

    layers: list[keras.layers.Layer] = []
    for index, width in enumerate(training.units):
        layers.append(dense(index, width, "relu"))
        if training.dropout:
            layers.append(keras.layers.Dropout(training.dropout, seed=training.seed + index))
    return [*layers, dense(len(training.units), genres, "softmax")]

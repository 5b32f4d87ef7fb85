"""The paper's head, dense layers and a softmax over the genres, and layers shared with other heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tumbao.trainer.training import Training

if TYPE_CHECKING:
    import keras


def head(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build the paper's head, always in float32, with seeded initial weights.

    Parameters
    ----------
    shape : tuple of int
        Shape of one fragment's features, (9, 9, 512) in the paper.
    genres : int
        Number of genres.
    training : Training
        With `units` (512 and 64 in the paper), `dropout`, `l2` and `seed`.

    Returns
    -------
    keras.Model
        Features float32 [n, *shape] to probabilities [n, genres], float32, each row summing to 1.
    """
    import keras

    return keras.Sequential(
        [features(shape), keras.layers.Flatten(name="flatten", dtype="float32"), *dense_layers(genres, training)],
        name="head",
    )


def features(shape: tuple[int, ...]) -> Any:
    """Create the input of a head.

    Parameters
    ----------
    shape : tuple of int
        Shape of one fragment's features.

    Returns
    -------
    keras.KerasTensor
        Named "features", float32.
    """
    import keras

    return keras.Input(shape, dtype="float32", name="features")


def dense_layers(genres: int, training: Training) -> list[keras.layers.Layer]:
    """Build the dense layers at the end of a head.

    Parameters
    ----------
    genres : int
        Number of genres.
    training : Training
        With `units`, `dropout`, `l2` and `seed`.

    Returns
    -------
    layers : list of keras.layers.Layer
        A dense layer for each of `units`, each followed by its dropout, and the softmax: dense, dense_1 and so on.
    """
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

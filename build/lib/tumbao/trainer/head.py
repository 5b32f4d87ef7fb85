"""The half of the network that learns: two dense layers and a softmax over the genres."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tumbao.trainer.backbone import FEATURES_SHAPE

if TYPE_CHECKING:
    import keras


def head(genres: int, seed: int) -> keras.Model:
    """Build the head, always in float32, with seeded initial weights.

    Parameters
    ----------
    genres : int
        How many genres there are, at least 2.
    seed : int
        Seed of the initial weights.

    Returns
    -------
    keras.Model
        Features [n, 9, 9, 512] to probabilities [n, genres], float32, each row summing to 1.

    Raises
    ------
    ValueError
        If there are fewer than 2 genres.
    """
    import keras

    if genres < 2:
        raise ValueError(f"A head needs at least 2 genres to tell apart. Received: genres={genres}")
    return keras.Sequential(
        [
            keras.Input(FEATURES_SHAPE, dtype="float32", name="features"),
            keras.layers.Flatten(name="flatten", dtype="float32"),
            _dense(512, "relu", "dense", seed),
            _dense(64, "relu", "dense_1", seed + 1),
            _dense(genres, "softmax", "dense_2", seed + 2),
        ],
        name="head",
    )


def _dense(units: int, activation: str, name: str, seed: int) -> keras.layers.Dense:
    import keras

    initializer = keras.initializers.GlorotUniform(seed)
    return keras.layers.Dense(units, activation, kernel_initializer=initializer, name=name, dtype="float32")

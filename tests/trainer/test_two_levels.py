"""The loss of both levels equals values computed by hand, with soft and smoothed labels."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tumbao.trainer.dataset import Arrays
from tumbao.trainer.fit import fit, two_level_crossentropy
from tumbao.trainer.training import Training

LEAVES = ("cumbia", "salsa/dura", "salsa/romantica")
PROBABILITIES = np.array([[0.2, 0.3, 0.5], [0.5, 0.4, 0.1]], np.float32)


def value(labels: list[list[float]], smoothing: float = 0.0) -> float:
    loss = two_level_crossentropy(LEAVES, smoothing)
    return float(np.mean(loss(np.array(labels, np.float32), PROBABILITIES)))


def test_it_is_the_mean_of_both_levels() -> None:
    """A song of salsa/dura at 0.3 within salsa at 0.8; one of cumbia at 0.5 at either level."""
    by_hand = [(-np.log(0.3) - np.log(0.8)) / 2, -np.log(0.5)]
    assert value([[0, 1, 0], [1, 0, 0]]) == pytest.approx(np.mean(by_hand), rel=1e-6)


def test_mixed_labels_are_summed_like_probabilities() -> None:
    leaf = -(0.25 * np.log(0.2) + 0.75 * np.log(0.5))
    genre = -(0.25 * np.log(0.2) + 0.75 * np.log(0.8))
    both = -(0.5 * np.log(0.4) + 0.5 * np.log(0.1)), -np.log(0.5)
    expected = np.mean([(leaf + genre) / 2, sum(both) / 2])
    assert value([[0.25, 0, 0.75], [0, 0.5, 0.5]]) == pytest.approx(expected, rel=1e-6)


def test_smoothing_spreads_over_leaves_and_over_genres() -> None:
    leaf = -(0.8 * np.log(0.3) + 0.1 * np.log(0.2) + 0.1 * np.log(0.5))  # 0.3 over three leaves
    genre = -(0.85 * np.log(0.8) + 0.15 * np.log(0.2))  # and over two genres
    other = -(0.8 * np.log(0.5) + 0.1 * np.log(0.4) + 0.1 * np.log(0.1)), -np.log(0.5)
    expected = np.mean([(leaf + genre) / 2, sum(other) / 2])
    assert value([[0, 1, 0], [1, 0, 0]], smoothing=0.3) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("settings", [{}, {"mixup": 0.4, "label_smoothing": 0.1}, {"class_weights": "none"}])
def test_a_head_learns_both_levels(rng: np.random.Generator, settings: dict[str, float]) -> None:
    labels = np.repeat([0, 1, 2], [24, 12, 6])
    features = (np.eye(3)[labels] + 0.2 * rng.normal(size=(42, 3))).astype(np.float32)
    fragments = Arrays([features], labels, np.arange(42), len(LEAVES))
    head = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, "softmax", kernel_initializer="zeros")])
    training = Training(epochs=8, batch=6, learning_rate=0.1, units=(), **settings)  # type: ignore[arg-type]
    history = fit(head, fragments, fragments, training, LEAVES)
    assert history["epochs"][-1]["val_accuracy"] > 0.9
    assert history["epochs"][-1]["val_loss"] < history["epochs"][0]["val_loss"]

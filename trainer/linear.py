"""Multinomial logistic regression on the mean features of songs: fitted by scikit-learn, evaluated as a Keras model.

Columns are standardised, and those of a group are divided by the root of their number, so that every group has the same
weight in the penalty. Every genre counts the same in the loss, and within a genre every song, however long it is. The
regression is fitted to the mean of a song's fragments: the mean of the fragments' logits is the logit of the mean.

Songs of another kind, such as composed ones, can join the training. They are standardised by their own mean and
deviation, because their sound differs from that of recordings in every column, and are never in a part that is tested.
Penalty and weight of these songs are chosen by their log-loss in cross-validation over songs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from tumbao.schema.errors import UserError
from tumbao.trainer.lazy import keras

PENALTIES = tuple(10.0 ** np.arange(-1, 2.25, 0.5))
"""Candidates of scikit-learn's C, the inverse of the penalty."""

DEFAULT_PENALTY = 3.0
"""C where a genre has one song, so that there is no cross-validation."""

COMPOSED_WEIGHTS = (0.0, 0.3, 1.0)
"""Candidates of the total weight of the additional songs, relative to the others."""

FOLDS = 5
"""Maximum number of folds."""


class Songs(NamedTuple):
    """Mean features of songs, float [n, d], and their labels, int [n]."""

    features: np.ndarray
    labels: np.ndarray


class Regression(NamedTuple):
    """Standardisation and coefficients: logits are ((features - mean) / deviation) @ kernel + bias.

    `log_loss` is that of the cross-validation in `folds` folds, None without one; `probabilities` are its predictions
    [n, genres].
    """

    mean: np.ndarray
    deviation: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    penalty: float
    composed_weight: float
    folds: int
    log_loss: float | None
    probabilities: np.ndarray | None


def song_means(features: np.ndarray, labels: np.ndarray, songs: Sequence[str]) -> Songs:
    """Average the features of each song's fragments: [n, d] → `Songs`, in the order of the songs' names."""
    _, first, song, counts = np.unique(songs, return_index=True, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), features.shape[1]))
    np.add.at(sums, song, features)
    return Songs(sums / counts[:, np.newaxis], np.asarray(labels)[first])


def fit_regression(
    songs: Songs, genres: int, groups: Sequence[int], composed: Songs | None = None, seed: int = 0
) -> Regression:
    """Fit the regression, with the penalty and the weight of composed songs chosen by cross-validation.

    `groups` are the numbers of columns of each group, in order. Every genre must have a song (otherwise UserError).
    """
    if missing := sorted({*range(genres)} - {*songs.labels.tolist()}):
        raise UserError(f"A regression needs songs of every genre to train on. Received: none with label {missing}")
    weights = COMPOSED_WEIGHTS if composed else (0.0,)
    folds = _folds(songs.labels, seed)
    penalty, weight, number, loss, probabilities = DEFAULT_PENALTY, weights[-1], 0, None, None
    if folds is not None:
        predicted = {
            candidate: _out_of_fold(songs, genres, groups, composed, folds, *candidate)
            for candidate in itertools.product(PENALTIES, weights)
        }
        penalty, weight = _choose(predicted, songs.labels)
        probabilities = predicted[penalty, weight]
        number, loss = int(folds.max()) + 1, float(_losses(probabilities, songs.labels).mean())
    fitted = _fit(songs, genres, groups, composed, penalty, weight)
    return Regression(*fitted, penalty, weight, number, loss, probabilities)


def _choose(predicted: Mapping[tuple[float, float], np.ndarray], labels: np.ndarray) -> tuple[float, float]:
    """Choose the strongest penalty, then the greatest weight, with a log-loss within one standard error of the least.

    The rule of one standard error (Hastie, Tibshirani & Friedman, "The elements of statistical learning", 7.10) matters
    here: songs of one source resemble each other, so the least loss within a library belongs to too weak a penalty for
    songs of another source.
    """
    losses = {candidate: _losses(probabilities, labels) for candidate, probabilities in predicted.items()}
    best = min(losses.values(), key=np.mean)
    bound = best.mean() + best.std() / np.sqrt(len(labels))
    return min(
        (candidate for candidate, loss in losses.items() if loss.mean() <= bound),
        key=lambda candidate: (candidate[0], -candidate[1]),
    )


def _losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7))


def _folds(labels: np.ndarray, seed: int) -> np.ndarray | None:
    """Spread the songs of each genre evenly over folds, int [n]; None if a genre has one song."""
    folds = min(FOLDS, np.bincount(labels).min())
    if folds < 2:
        return None
    order = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), int)
    for label in np.unique(labels):
        own = order[labels[order] == label]
        fold[own] = (label + np.arange(len(own))) % folds
    return fold


def _out_of_fold(
    songs: Songs,
    genres: int,
    groups: Sequence[int],
    composed: Songs | None,
    folds: np.ndarray,
    penalty: float,
    weight: float,
) -> np.ndarray:
    probabilities = np.empty((len(folds), genres))
    for fold in np.unique(folds):
        train = Songs(*(part[folds != fold] for part in songs))
        mean, deviation, kernel, bias = _fit(train, genres, groups, composed, penalty, weight)
        logits = (songs.features[folds == fold] - mean) / deviation @ kernel + bias
        probabilities[folds == fold] = softmax(logits, axis=1)
    return probabilities


def standardisation(features: np.ndarray, groups: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation [d]; the deviation includes the root of the group's number of columns."""
    deviation = features.std(axis=0)
    deviation = np.where(deviation > 1e-6, deviation, 1.0)  # a column with one value
    return features.mean(axis=0), deviation * np.sqrt(np.repeat(groups, groups))


def _fit(
    songs: Songs, genres: int, groups: Sequence[int], composed: Songs | None, penalty: float, weight: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean and deviation [d] of the songs, and kernel [d, genres] and bias [genres] of standardised columns."""
    from sklearn.linear_model import LogisticRegression

    scale = standardisation(songs.features, groups)
    sets = [(songs, 1.0), *([(composed, weight)] if composed and weight else [])]
    columns, labels, weights = [], [], []
    for part, total in sets:
        mean, deviation = scale if part is songs else standardisation(part.features, groups)
        columns.append((part.features - mean) / deviation)
        labels.append(part.labels)
        counts = np.bincount(part.labels, minlength=genres)
        weights.append(total * len(songs.labels) / genres / counts[part.labels])
    model = LogisticRegression(C=penalty, max_iter=2_000)
    model.fit(np.concatenate(columns), np.concatenate(labels), np.concatenate(weights))
    if genres == 2:  # scikit-learn has one row of coefficients for two classes
        kernel = np.stack([-model.coef_[0], model.coef_[0]], axis=1) / 2
        return *scale, kernel, np.array([-1, 1]) * model.intercept_ / 2
    return *scale, model.coef_.T, model.intercept_


def empty_regression(features: int, *, genres: int) -> keras.Model:
    """Build the model, to load weights into: features [n, features] → probabilities float32 [n, genres]."""
    return keras.Sequential(
        [
            keras.Input((features,), dtype="float32", name="features"),
            keras.layers.BatchNormalization(center=False, scale=False, epsilon=1e-12, name="standardise"),
            keras.layers.Dense(genres, "softmax", kernel_initializer="zeros", name="dense", dtype="float32"),
        ],
        name="head",
    )


def to_keras(regression: Regression) -> keras.Model:
    """Build the model of `empty_regression` with the weights of a regression."""
    model = empty_regression(len(regression.mean), genres=len(regression.bias))
    model.get_layer("standardise").set_weights([regression.mean, np.square(regression.deviation)])
    model.get_layer("dense").set_weights([regression.kernel, regression.bias])
    return model

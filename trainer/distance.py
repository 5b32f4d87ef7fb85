"""Distance of a fragment from the training songs, in the feature space of a model's last dense layer.

After Lee, Lee, Lee & Shin, "A simple unified framework for detecting out-of-distribution samples and adversarial
attacks" (NeurIPS 2018): the Mahalanobis distance from the nearest genre, whose songs have the same covariance in every
genre. It is estimated with shrinkage, after a reduction to principal components, since there are fewer songs than
columns. The distance of a song is the mean of its fragments'.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from scipy.stats import t as student
from sklearn.covariance import OAS
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold

from tumbao.serving.model_info import DistanceRule
from tumbao.trainer.linear import song_means

COMPONENTS = 60
"""Maximum number of principal components."""

LEAST_FRAGMENTS = 3
"""Minimum number of fragments for each component: of fewer, all of them are far from their mean."""

ACCEPTED = 0.95
"""Share of new songs, of the training songs' kind, that the threshold accepts."""

FOLDS = 10
"""Maximum number of folds."""

LEAST_SONGS = 5
"""Minimum number of songs for a threshold."""


class HiddenFeatures(NamedTuple):
    """Input of a model's last dense layer for n fragments: float [n, d], labels int [n], and their songs' names [n]."""

    features: np.ndarray
    labels: np.ndarray
    songs: np.ndarray

    def rows(self, chosen: np.ndarray) -> HiddenFeatures:
        """Select fragments by a mask or by indexes."""
        return HiddenFeatures(*(part[chosen] for part in self))


class Distance(NamedTuple):
    """The distance of features x [d] is the least norm of (x - mean) @ projection - centre over `centres`.

    `mean` is [d], `projection` [d, r], `centres` [k, r].
    """

    mean: np.ndarray
    projection: np.ndarray
    centres: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Compute the distances float64 [n] of features [n, d]."""
        apart = ((features - self.mean) @ self.projection)[:, np.newaxis] - self.centres
        return np.sqrt(np.square(apart).sum(axis=2)).min(axis=1)


def fit_distance(train: HiddenFeatures, most: int = COMPONENTS) -> Distance:
    """Fit the distance to fragments of songs that weigh the same, however many fragments they have.

    `most` is the maximum number of components.
    """
    _, song, counts = np.unique(train.songs, return_inverse=True, return_counts=True)
    labels, genre = np.unique(train.labels, return_inverse=True)
    weights = 1 / counts[song]
    mean = np.average(train.features, axis=0, weights=weights)
    roots = np.sqrt(weights / weights.mean())[:, np.newaxis]
    apart = (train.features - mean) * roots
    number = max(1, min(most, apart.shape[1], len(apart) // LEAST_FRAGMENTS))
    components = PCA(number, svd_solver="full").fit(apart).components_.T
    columns = (train.features - mean) @ components
    centres = np.stack(
        [np.average(columns[genre == one], axis=0, weights=weights[genre == one]) for one in range(len(labels))]
    )
    precision = OAS(assume_centered=True).fit((columns - centres[genre]) * roots).precision_
    values, vectors = np.linalg.eigh(precision)
    whitening = vectors * np.sqrt(values)
    return Distance(mean, components @ whitening, centres @ whitening)


def song_distances(distance: Distance, part: HiddenFeatures) -> np.ndarray:
    """Average the distances of each song's fragments, float64 [songs], in the order of the songs' names."""
    return song_means(distance(part.features)[:, np.newaxis], part.labels, part.songs.tolist()).features[:, 0]


def distance_rule(train: HiddenFeatures, held_out: HiddenFeatures | None) -> tuple[Distance, DistanceRule] | None:
    """Fit the distance, and a threshold to songs that it was not fitted to; None if there are too few.

    Without `held_out`, each song's distance is that from the others, by cross-validation: for features that do not
    depend on the training.
    """
    folds = min(FOLDS, len(np.unique(train.songs)))
    if folds < LEAST_SONGS:
        return None
    if held_out is None:
        most = int(len(train.songs) * (1 - 1 / folds)) // LEAST_FRAGMENTS - 1  # as many in a fold as in the end
        most = max(1, min(COMPONENTS, most))
        distance, distances = fit_distance(train, most), _out_of_fold(train, folds, most)
    else:
        distance = fit_distance(train)
        distances = song_distances(distance, held_out)
    if len(distances) < LEAST_SONGS or not distances.all():
        return None
    return distance, DistanceRule(round(_threshold(distances), 4), len(distances))


def _out_of_fold(part: HiddenFeatures, folds: int, most: int) -> np.ndarray:
    return np.concatenate(
        [
            song_distances(fit_distance(part.rows(train), most), part.rows(test))
            for train, test in GroupKFold(folds).split(part.features, part.labels, part.songs)
        ]
    )


def _threshold(distances: np.ndarray) -> float:
    """Return the distance below which a new song lies with a probability of `ACCEPTED`.

    The logarithms of the songs' distances are taken as normally distributed: the result is the end of a prediction
    interval, which n songs, however few, support.
    """
    logs, songs = np.log(distances), len(distances)
    reach = student.ppf(ACCEPTED, songs - 1) * np.sqrt(1 + 1 / songs)
    return float(np.exp(logs.mean() + reach * logs.std(ddof=1)))


def to_keras(distance: Distance) -> keras.Model:
    """Build the distance as a model: features float32 [n, d] → distances float32 [n]."""
    mean, projection, centres = (part.astype(np.float32) for part in distance)
    inputs = keras.Input((len(mean),), dtype="float32", name="features")
    # not a matrix product, which quantization would make coarse
    projected = keras.ops.sum(keras.ops.expand_dims(inputs - mean, 2) * projection, axis=1)
    squares = [keras.ops.sum(keras.ops.square(projected - centre), axis=1) for centre in centres]
    nearest = keras.ops.min(keras.ops.stack(squares, axis=1), axis=1)
    return keras.Model(inputs, keras.ops.sqrt(nearest), name="distance")

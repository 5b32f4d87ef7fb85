"""Cached features → batches for the head, from records or from memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np

from tumbao.schema import record
from tumbao.trainer.lazy import tf

SHUFFLE_RECORDS = 1_024
"""Size of the shuffle buffer in records; 83 kB each with VGG-16's features."""

_PARALLEL = 2


class Fragments(Protocol):
    """Features and labels of one split."""

    @property
    def counts(self) -> np.ndarray:
        """Number of fragments by label, int64 [genres]."""

    @property
    def songs(self) -> Sequence[str]:
        """Name of the song of each fragment, in the order of `batches`."""

    def batches(self, batch: int, shuffle_seed: int | None = None) -> tf.data.Dataset:
        """Return batches of known length: features float32 [n, *shape] and one-hot labels float32 [n, genres].

        The last batch may be smaller than `batch`. With a seed, the order is shuffled anew in every pass, reproducibly;
        None keeps the order.
        """


class Records:
    """Fragments in GZIP TFRecord files (glob patterns) of features; `shape` is that of one fragment's features."""

    def __init__(self, patterns: Sequence[str], shape: tuple[int, ...], genres: int) -> None:
        self._files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
        self._shape = shape
        self._genres = genres

    @cached_property
    def counts(self) -> np.ndarray:  # noqa: D102 - see Fragments
        counts = np.zeros(self._genres, np.int64)
        for _, labels in self._read(tf.data.TFRecordDataset(self._files, "GZIP")).batch(256):
            counts += labels.numpy().sum(axis=0).astype(np.int64)
        return counts

    @property
    def songs(self) -> list[str]:  # noqa: D102 - see Fragments
        from tumbao.components.ingest.records import read_records

        return [fragment[record.SONG].decode() for file in self._files for fragment in read_records(file)]

    def batches(self, batch: int, shuffle_seed: int | None = None) -> tf.data.Dataset:  # noqa: D102 - see Fragments
        serialized = tf.data.TFRecordDataset(self._files, "GZIP")
        if shuffle_seed is not None:
            serialized = serialized.shuffle(SHUFFLE_RECORDS, seed=shuffle_seed)
        return _known(self._read(serialized).batch(batch), self.counts, batch)

    def _read(self, serialized: tf.data.Dataset) -> tf.data.Dataset:
        from tumbao.components.ingest.records import parse_features

        def read(one: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            features, label = parse_features(one, self._shape)
            return features, tf.one_hot(label, self._genres)

        return serialized.map(read, num_parallel_calls=_PARALLEL, deterministic=True)


class Arrays:
    """Fragments in memory, or in a memory-mapped file.

    `features` are arrays float16 or float32 [n, *shape] of all fragments: the originals, then augmented copies.
    `labels` int [n] and `songs` str [n] are theirs; without songs, every fragment is one. `rows` int [m] selects the
    fragments of the split.
    """

    def __init__(
        self,
        features: Sequence[np.ndarray],
        labels: np.ndarray,
        rows: np.ndarray,
        genres: int,
        songs: Sequence[str] = (),
    ) -> None:
        self._songs = songs or [str(row) for row in range(len(labels))]
        self._features = features
        self._labels = np.asarray(labels)
        self._rows = [(copy, row) for copy in range(len(features)) for row in np.asarray(rows)]
        self._genres = genres

    @property
    def counts(self) -> np.ndarray:  # noqa: D102 - see Fragments
        return np.bincount(self._labels[[row for _, row in self._rows]], minlength=self._genres)

    @property
    def songs(self) -> list[str]:  # noqa: D102 - see Fragments
        return [self._songs[row] for _, row in self._rows]

    def batches(self, batch: int, shuffle_seed: int | None = None) -> tf.data.Dataset:  # noqa: D102 - see Fragments
        rows = tf.data.Dataset.from_tensor_slices(self._rows)
        if shuffle_seed is not None:
            rows = rows.shuffle(len(self._rows), seed=shuffle_seed)
        shape = [None, *self._features[0].shape[1:]]

        def take(rows: np.ndarray) -> np.ndarray:
            return np.stack([self._features[copy][row] for copy, row in rows]).astype(np.float32)

        def read(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            labels = tf.one_hot(tf.gather(tf.constant(self._labels), rows[:, 1]), self._genres)
            return tf.ensure_shape(tf.numpy_function(take, [rows], tf.float32), shape), labels

        return _known(rows.batch(batch).map(read, num_parallel_calls=_PARALLEL, deterministic=True), self.counts, batch)


def _known(batches: tf.data.Dataset, counts: np.ndarray, batch: int) -> tf.data.Dataset:
    """Set the length: Keras takes a data set of unknown length that ends for an error."""
    length = math.ceil(int(counts.sum()) / batch)
    return batches.prefetch(1).apply(tf.data.experimental.assert_cardinality(length))


def in_memory(fragments: Fragments) -> tuple[np.ndarray, np.ndarray]:
    """Return all features, float32 [n, *shape], and labels, int64 [n], for heads that are not trained by gradients."""
    features, onehot = zip(*fragments.batches(256).as_numpy_iterator(), strict=True)
    return np.concatenate(features), np.concatenate(onehot).argmax(axis=1)


def mixed(batches: tf.data.Dataset, alpha: float, seed: int) -> tf.data.Dataset:
    """Mix each fragment of a batch, and its label, with another one (mixup; Zhang et al. 2018).

    `alpha` is both parameters of the beta distribution of the mixing weight, of which there is one a batch. Weights and
    pairs differ in every pass.
    """
    length = batches.cardinality()
    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2, drop_remainder=True)

    def mix(pair: tuple[tf.Tensor, tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features, labels = pair
        seeds = tf.random.split(seed, 3)
        first, second = (tf.random.stateless_gamma([], seeds[index], alpha=alpha) for index in (0, 1))
        weight = tf.math.divide_no_nan(first, first + second)
        others = tf.argsort(tf.random.stateless_uniform(tf.shape(labels)[:1], seeds[2]))
        return (
            weight * features + (1 - weight) * tf.gather(features, others),
            weight * labels + (1 - weight) * tf.gather(labels, others),
        )

    pairs = tf.data.Dataset.zip(batches, seeds).map(mix, num_parallel_calls=_PARALLEL, deterministic=True)
    return pairs.apply(tf.data.experimental.assert_cardinality(length))


def weighted(batches: tf.data.Dataset, weights: Mapping[int, float]) -> tf.data.Dataset:
    """Add sample weights float32 [n] by genre; for mixed labels, the weights are mixed in the same proportion.

    Keras' own `class_weight` would give a mixed fragment the weight of its most probable genre alone.
    """
    by_label = tf.constant([weights[label] for label in sorted(weights)], tf.float32)
    return batches.map(lambda features, labels: (features, labels, tf.linalg.matvec(labels, by_label)))


def class_weights(counts: np.ndarray) -> dict[int, float] | None:
    """Return weights by label with which each genre counts the same in the loss; None if all have equal counts.

    The weight is 0 for a genre without records; if every genre has some, the mean weight over all records is 1. Counts
    [1, 3] give {0: 2.0, 1: 0.667}.
    """
    if len(set(counts.tolist())) == 1:
        return None
    return {label: float(counts.sum() / (len(counts) * count)) if count else 0.0 for label, count in enumerate(counts)}

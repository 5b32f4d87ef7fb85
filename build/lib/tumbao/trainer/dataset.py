"""Records of features → batches for the head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tumbao.components.ingest.records import parse_features

SHUFFLE_RECORDS = 4_096
"""How many records are shuffled at a time; 83 kB each."""


def dataset(
    patterns: Sequence[str],
    *,
    genres: int,
    shape: tuple[int, int, int],
    batch: int,
    records: int | None = None,
    shuffle_seed: int | None = None,
) -> tf.data.Dataset:
    """Read records of features in batches, always in the same order for the same seed.

    Parameters
    ----------
    patterns : sequence of str
        Glob patterns of GZIP TFRecord files.
    genres : int
        Length of the one-hot labels.
    shape : tuple of int
        Shape of the backbone's output.
    batch : int
        Records in a batch; the last batch may be smaller.
    records : int or None
        How many records there are; Keras takes data that end without having told their length for a mistake.
    shuffle_seed : int or None
        Shuffle anew in every pass, beginning with this seed; None keeps the order.

    Returns
    -------
    batches : tf.data.Dataset
        Pairs of features float32 [n, *shape] and one-hot labels float32 [n, genres].
    """
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    serialized_records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    if shuffle_seed is not None:
        serialized_records = serialized_records.shuffle(SHUFFLE_RECORDS, seed=shuffle_seed)

    def read(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features, label = parse_features(serialized, shape)
        return features, tf.one_hot(label, genres)

    batches = serialized_records.map(read, num_parallel_calls=2, deterministic=True).batch(batch).prefetch(1)
    if records is not None:
        batches = batches.apply(tf.data.experimental.assert_cardinality(math.ceil(records / batch)))
    return batches


def label_counts(patterns: Sequence[str], genres: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Count the records of each genre.

    Parameters
    ----------
    patterns : sequence of str
        Glob patterns of GZIP TFRecord files.
    genres : int
        How many genres there are.
    shape : tuple of int
        Shape of the backbone's output.

    Returns
    -------
    counts : np.ndarray [shape=(genres,), dtype=int64]
        Records by label.
    """
    counts = np.zeros(genres, np.int64)
    for _, labels in dataset(patterns, genres=genres, shape=shape, batch=256):
        counts += labels.numpy().sum(axis=0).astype(np.int64)
    return counts


def class_weights(counts: np.ndarray) -> dict[int, float]:
    """Weigh genres so that each counts the same in the loss.

    Parameters
    ----------
    counts : np.ndarray [shape=(genres,)]
        Records by label, each at least 1.

    Returns
    -------
    weights : dict of int to float
        Label → weight; the weights' mean over all records is 1.

    Examples
    --------
    >>> class_weights(np.array([1, 3]))
    {0: 2.0, 1: 0.6666666666666666}
    """
    return {label: float(counts.sum() / (len(counts) * count)) for label, count in enumerate(counts)}

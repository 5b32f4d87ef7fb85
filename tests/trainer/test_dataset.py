"""Order, labels and counts of the batches that the head trains on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tumbao.trainer.dataset import class_weights, dataset, label_counts

SHAPE = (2, 2, 3)
LABELS = [0, 1, 2, 1, 1, 0, 1, 2, 1, 1, 0, 1, 1]


@pytest.fixture
def pattern(tmp_path: Path, write_features: Callable[..., str]) -> str:
    write_features(tmp_path / "data-1.gz", LABELS[:6], SHAPE)
    write_features(tmp_path / "data-2.gz", LABELS[6:], SHAPE)
    return str(tmp_path / "data-*.gz")


def passes(pattern: str, seed: int | None, count: int = 2) -> list[np.ndarray]:
    batches = dataset([pattern], genres=3, shape=SHAPE, batch=4, shuffle_seed=seed)
    return [np.concatenate([features for features, _ in batches.as_numpy_iterator()]) for _ in range(count)]


def test_batches_hold_features_and_one_hot_labels_in_the_order_of_the_files(pattern: str) -> None:
    batches = list(dataset([pattern], genres=3, shape=SHAPE, batch=4).as_numpy_iterator())
    assert [len(features) for features, _ in batches] == [4, 4, 4, 1]
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, np.eye(3)[LABELS])
    features = np.concatenate([features for features, _ in batches])
    assert (features.dtype, features.shape) == (np.float32, (len(LABELS), *SHAPE))
    np.testing.assert_array_equal(features.mean(axis=(1, 2, 3)).astype(int), LABELS)


def test_the_order_is_the_seeds_and_anew_in_every_pass(pattern: str) -> None:
    first, second = passes(pattern, seed=1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(passes(pattern, seed=1), [first, second])
    assert not np.array_equal(passes(pattern, seed=2)[0], first)
    np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(second, axis=0))


def test_without_a_seed_the_order_stays(pattern: str) -> None:
    first, second = passes(pattern, seed=None)
    np.testing.assert_array_equal(first, second)


def test_labels_are_counted(pattern: str) -> None:
    assert label_counts([pattern], genres=4, shape=SHAPE).tolist() == [3, 8, 2, 0]


def test_weights_make_each_genre_count_the_same() -> None:
    counts = np.array([3, 8, 1])
    weights = class_weights(counts)
    assert weights == {0: pytest.approx(12 / 9), 1: pytest.approx(0.5), 2: pytest.approx(4)}
    totals = [weights[label] * count for label, count in enumerate(counts)]
    assert totals == pytest.approx([4, 4, 4])

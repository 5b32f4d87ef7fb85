"""Order, labels and counts of the batches that the head trains on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tumbao.trainer.dataset import Arrays, Records, class_weights, mixed

SHAPE = (2, 2, 3)
LABELS = [0, 1, 2, 1, 1, 0, 1, 2, 1, 1, 0, 1, 1]


@pytest.fixture
def pattern(tmp_path: Path, write_features: Callable[..., str]) -> str:
    write_features(tmp_path / "data-1.gz", LABELS[:6], SHAPE)
    write_features(tmp_path / "data-2.gz", LABELS[6:], SHAPE)
    return str(tmp_path / "data-*.gz")


def passes(pattern: str, seed: int | None, count: int = 2) -> list[np.ndarray]:
    batches = Records([pattern], SHAPE, 3).batches(4, seed)
    return [np.concatenate([features for features, _ in batches.as_numpy_iterator()]) for _ in range(count)]


def test_batches_hold_features_and_one_hot_labels_in_the_order_of_the_files(pattern: str) -> None:
    batches = list(Records([pattern], SHAPE, 3).batches(4).as_numpy_iterator())
    assert [len(features) for features, _ in batches] == [4, 4, 4, 1]
    labels = np.concatenate([labels for _, labels in batches])
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels, np.eye(3)[LABELS])
    features = np.concatenate([features for features, _ in batches])
    assert features.dtype == np.float32
    assert features.shape == (len(LABELS), *SHAPE)
    np.testing.assert_array_equal(features.mean(axis=(1, 2, 3)).astype(int), LABELS)


def test_the_seed_determines_another_order_in_every_pass(pattern: str) -> None:
    first, second = passes(pattern, seed=1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(passes(pattern, seed=1), [first, second])
    assert not np.array_equal(passes(pattern, seed=2)[0], first)
    np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(second, axis=0))


def test_class_weights_make_each_genre_count_the_same() -> None:
    assert class_weights(np.array([3, 8, 1])) == pytest.approx({0: 4 / 3, 1: 4 / 8, 2: 4.0})
    assert class_weights(np.array([1, 0])) == {0: 0.5, 1: 0.0}
    assert class_weights(np.array([2, 2])) is None


def test_arrays_have_the_batches_of_records(pattern: str) -> None:
    records = Records([pattern], SHAPE, 3)
    features, labels = (np.concatenate(parts) for parts in zip(*records.batches(4).as_numpy_iterator(), strict=True))
    rows = np.array([12, 3, 3, 7])
    arrays = Arrays([features.astype(np.float16)], labels.argmax(axis=1), rows, 3)
    assert arrays.counts.tolist() == np.bincount(np.array(LABELS)[rows], minlength=3).tolist()
    assert len(arrays.batches(3)) == 2
    ((first, hot), (second, _)) = arrays.batches(3).as_numpy_iterator()
    np.testing.assert_allclose(np.concatenate([first, second]), features[rows], atol=1e-3)
    np.testing.assert_array_equal(hot, labels[rows[:3]])
    once, again = (np.concatenate([one for one, _ in arrays.batches(3, 1).as_numpy_iterator()]) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_mixing_keeps_batches_and_mixes_labels_as_it_mixes_features(pattern: str) -> None:
    plain = Records([pattern], SHAPE, 3).batches(4)
    mixing = mixed(plain, 0.4, seed=1)
    assert len(mixing) == len(plain)
    first, again = (list(mixing.as_numpy_iterator()) for _ in range(2))
    assert not np.allclose(first[0][1], again[0][1])
    for (features, labels), (_, one_hot) in zip(first, plain.as_numpy_iterator(), strict=True):
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(features.mean(axis=(1, 2, 3)), labels @ [0.25, 1.25, 2.25], atol=0.25)
        assert labels.shape == one_hot.shape
    assert max(np.abs(labels.max(axis=1) - 1).max() for _, labels in first) > 0.01

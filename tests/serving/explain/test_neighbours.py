"""Neighbours are those that point the same way; the map keeps them together and is always the same."""

from __future__ import annotations

import numpy as np
import pytest

from tumbao.schema.errors import UserError
from tumbao.serving.explain.neighbours import agreement, embedding_map, nearest, typical, unit_vectors

SONGS = ("a", "a", "b", "c", "d")
VECTORS = np.array([[1, 0], [3, 0.1], [1, 1], [0, 5], [0, 0]], np.float32)


def clusters(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Make three bundles of unit_vectors, and their labels."""
    rng = np.random.default_rng(4)
    labels = np.arange(count) % 3
    centres = np.maximum(rng.normal(size=(3, 16)), 0)
    lengths = rng.uniform(0.2, 5, (count, 1))
    return (lengths * (centres[labels] + 0.05 * rng.normal(size=(count, 16)))).astype(np.float32), labels


def test_the_length_of_a_vector_does_not_count_and_a_song_comes_once() -> None:
    found = nearest(np.array([100.0, 0.0], np.float32), VECTORS, SONGS, 3)
    assert [row for row, _ in found] == [0, 2, 3]
    assert [distance for _, distance in found] == pytest.approx([0, 1 - 0.5**0.5, 1])


def test_some_fragments_and_songs_can_be_left_out() -> None:
    query = np.array([1.0, 0.0], np.float32)
    among = np.array([False, True, True, True, True])
    assert [row for row, _ in nearest(query, VECTORS, SONGS, 9, among=among)] == [1, 2, 3, 4]
    assert [row for row, _ in nearest(query, VECTORS, SONGS, 2, without={"a", "c"})] == [2, 4]
    assert nearest(query, VECTORS, SONGS, 2, among=np.zeros(5, bool)) == []


def test_directions_have_length_one_or_are_none() -> None:
    assert np.linalg.norm(unit_vectors(VECTORS), axis=1) == pytest.approx([1, 1, 1, 1, 0])


def test_the_typical_fragment_is_in_the_middle_of_its_genre() -> None:
    vectors = np.array([[1, 0], [1, 0.4], [1, 1], [0, 1]], np.float32)
    labels = np.array([0, 0, 0, 1])
    assert [typical(vectors, labels, genre) for genre in range(3)] == [1, 3, None]


def test_agreement_asks_other_songs_only() -> None:
    vectors, labels = clusters(30)
    everything = np.ones(30, bool)
    assert agreement(vectors, labels, [f"song {row}" for row in range(30)], everything) == 1
    assert agreement(vectors, labels, [f"song {label}" for label in labels], everything) == 0


def test_agreement_asks_training_about_the_rest() -> None:
    vectors, labels = clusters(30)
    songs = [f"song {row}" for row in range(30)]
    wrong = labels.copy()
    wrong[:6] = (labels[:6] + 1) % 3
    training = np.arange(30) >= 6
    assert agreement(vectors, labels, songs, training) == 1
    assert agreement(vectors, wrong, songs, training) == 0
    assert agreement(vectors, wrong, songs, ~training) == 0


def test_agreement_is_of_what_can_be_compared() -> None:
    vectors, labels = clusters(30)
    assert agreement(vectors, labels, ["one song"] * 30, np.ones(30, bool)) is None
    assert agreement(vectors, labels, [f"song {row}" for row in range(30)], np.zeros(30, bool)) is None
    songs = ["half"] * 15 + [f"song {row}" for row in range(15)]
    training = np.arange(30) < 10  # all of one song, and five of those that were not are of it too
    assert agreement(vectors, labels, songs, training) == 1
    other = np.where(np.arange(30) < 15, 7, labels)
    assert agreement(vectors, other, songs, training) == 0


def test_the_map_keeps_neighbours_together_and_is_always_the_same() -> None:
    vectors, labels = clusters(30)
    positions = embedding_map(vectors)
    assert positions.shape == (30, 2)
    assert positions.min(axis=0).tolist() == [0, 0]
    assert positions.max(axis=0).tolist() == [1, 1]
    gaps = np.linalg.norm(positions[:, None] - positions, axis=2) + np.diag(np.full(30, np.inf))
    assert (labels[gaps.argmin(axis=1)] == labels).mean() > 0.9
    assert np.array_equal(embedding_map(vectors), positions)


def test_too_few_fragments_and_vectors_of_another_length_are_refused() -> None:
    with pytest.raises(UserError, match=r"at least 4 fragments.*Received: 3"):
        embedding_map(VECTORS[:3])
    with pytest.raises(ValueError, match=r"as long as those to search.*\(3,\) and \(5, 2\)"):
        nearest(np.zeros(3, np.float32), VECTORS, SONGS, 1)

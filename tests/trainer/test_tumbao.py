from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest import fragments
from tumbao.components.ingest.mel import mel_image
from tumbao.datasets.demo.library import compose_file
from tumbao.pipeline.composed_songs import SEED
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import FINE
from tumbao.trainer.dataset import Arrays
from tumbao.trainer.fit import train_head
from tumbao.trainer.models.tumbao import TUMBAO, composed_songs
from tumbao.trainer.rhythm import rhythm


def test_there_are_none_for_a_genre_that_is_not_composed() -> None:
    assert composed_songs(["salsa", "tango"]) is None


def test_composed_features_are_those_of_the_composer(tmp_path: Path) -> None:
    """Fails if the composer or the rhythm changed without `make composed`."""
    path = compose_file(tmp_path / "song.mp3", "merengue", 0, SEED)
    sounds = np.stack([fragment.samples for fragment in fragments.Fragments(fragments.read(path, FINE))])
    features = rhythm()(tf.cast(mel_image(sounds, FINE), tf.float32)).numpy().mean(axis=0)
    songs = composed_songs(GENRES)
    assert songs is not None
    stored = songs.features[np.flatnonzero(songs.labels == GENRES.index("merengue"))[0]]
    np.testing.assert_allclose(features, stored, atol=5e-3)


@pytest.mark.parametrize("songs_per_genre", [2, 6])
def test_songs_count_the_same_however_long_they_are(songs_per_genre: int) -> None:
    """Repeat the fragments of some songs: the head does not change."""
    composed = composed_songs(GENRES)
    assert composed is not None
    rows = np.concatenate([np.flatnonzero(composed.labels == label)[:songs_per_genre] for label in range(len(GENRES))])
    features, labels = composed.features[rows].astype(np.float32), composed.labels[rows]
    names = [f"song {row}" for row in rows]
    repeats = 1 + np.arange(len(rows)) % 3

    def train(repeats: np.ndarray) -> list[np.ndarray]:
        part = np.repeat(np.arange(len(rows)), repeats)
        data = Arrays([features], labels, part, len(GENRES), names)
        head, history = train_head(TUMBAO, data, data, TUMBAO.settings(), shape=features.shape[1:], genres=GENRES)
        assert history["epochs"][0]["accuracy"] > 0.9
        return head.get_weights()

    for once, often in zip(train(np.ones(len(rows), int)), train(repeats), strict=True):
        np.testing.assert_allclose(once, often, atol=1e-4)


def test_validation_songs_are_trained_on_and_predicted_by_cross_validation() -> None:
    composed = composed_songs(GENRES)
    assert composed is not None
    rows = np.concatenate([np.flatnonzero(composed.labels == label)[:6] for label in range(len(GENRES))])
    features, labels = composed.features[rows].astype(np.float32), composed.labels[rows]
    names = [f"song {row}" for row in rows]

    def train(train: np.ndarray, val: np.ndarray) -> tuple[list[np.ndarray], dict[str, float]]:
        first, second = (Arrays([features], labels, part, len(GENRES), names) for part in (train, val))
        head, history = train_head(TUMBAO, first, second, TUMBAO.settings(), shape=features.shape[1:], genres=GENRES)
        assert (history["fit"]["songs"], history["fit"]["folds"]) == (len(rows), 5)
        assert bool(history["fit"]["composed_songs"]) == (history["fit"]["composed_weight"] > 0)
        return head.get_weights(), history["epochs"][0]

    every, third = np.arange(len(rows)), np.arange(len(rows)) % 3 == 0
    apart, together = train(every[~third], every[third]), train(every, every)
    for one, other in zip(apart[0], together[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert apart[1]["val_loss"] > apart[1]["loss"]
    shuffled = labels.copy()
    np.random.default_rng(0).shuffle(shuffled)
    labels = shuffled
    assert train(every[~third], every[third])[1]["val_accuracy"] < 0.5

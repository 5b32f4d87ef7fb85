"""Folds and splits of a rendered library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.trainer import cross_validation
from tumbao.trainer.backbones import LEVELS
from tumbao.trainer.cross_validation import (
    Fold,
    fewer_songs,
    library_folds,
    mean_of_songs,
    one_split,
    out_of_fold,
    whole_song_folds,
)
from tumbao.trainer.dataset import Fragments
from tumbao.trainer.fit import train_head
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training


def made(counts: Sequence[int], fragments: int = 3) -> RenderedLibrary:
    """Describe a library with so many songs of each genre, each third one of another artist."""
    rows = [
        (f"{genre} {song}", genre, number)
        for genre, songs in enumerate(counts)
        for song in range(songs)
        for number in range(fragments)
    ]
    names, labels, numbers = zip(*rows, strict=True)
    artists = {name: f"artist {int(name[2:]) % 3} of {name[0]}" for name in names}
    empty, zeros = ("",) * len(rows), np.zeros(len(rows))
    genres = tuple(f"genre {number}" for number in range(len(counts)))
    return RenderedLibrary(
        genres, names, np.array(labels), np.array(numbers), zeros, empty, empty, numbers, artists, ()
    )


class Memory:
    """A head that answers whether it has seen features."""

    variables = ()

    def __init__(self, seen: np.ndarray) -> None:
        self._seen = seen

    def __call__(self, features: np.ndarray, training: bool) -> np.ndarray:
        return np.isin(features, self._seen).repeat(2, axis=1)


@pytest.mark.parametrize(("split_by", "leaks"), [("song", False), ("fragment", True)])
def test_a_split_keeps_songs_whole_unless_it_is_by_fragment(split_by: str, leaks: bool) -> None:
    library = made((10, 10), fragments=4)
    fold = one_split(library, split_by, {}, seed=3)
    members = [{library.songs[row] for row in rows} for rows in (fold.train, fold.val, fold.test)]
    assert sorted(np.concatenate([fold.train, fold.val, fold.test])) == list(range(80))
    assert (len(fold.test), len(fold.val)) == (8, 8)
    assert bool(members[0] & members[2]) is leaks
    assert fold.digest != one_split(library, split_by, {}, seed=4).digest


@pytest.mark.parametrize("split_by", ["song", "artist", "fragment"])
def test_folds_keep_together_what_a_split_does(split_by: str) -> None:
    library = made((15, 15))
    artists = {song: artist.upper() for song, artist in library.artists.items()}
    folds = library_folds(library, split_by, artists, folds=3, seed=1)
    assert [fold.fold for fold in folds] == [0, 1, 2]
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(90))
    for fold in folds:
        assert sorted(np.concatenate([fold.train, fold.val, fold.test])) == list(range(90))
        assert {0, 1} == set(library.labels[fold.train]) == set(library.labels[fold.test])
        whole = {song: artists[song] if split_by == "artist" else song for song in library.songs}
        train, test = ({whole[library.songs[row]] for row in rows} for rows in (fold.train, fold.test))
        assert bool(train & test) is (split_by == "fragment")


def test_a_genre_with_a_single_song_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 2 songs of each genre .* Received: 1 of genre 0, genre 1"):
        library_folds(made((1, 1)), "song", {}, folds=5, seed=0)


@pytest.mark.parametrize("counts", [(2, 2, 2), (3, 16, 23), (1, 5, 2)])
def test_every_song_is_tested_once_and_whole(counts: tuple[int, ...]) -> None:
    library = made(counts)
    names = np.array(library.songs)
    folds = whole_song_folds(library, 5, seed=1)
    assert sorted(row for fold in folds for row in fold.test) == list(range(len(names)))
    for fold in folds:
        assert not set(names[fold.test]) & {*names[fold.train], *names[fold.val]}
        others = set(np.delete(library.labels, fold.test).tolist())
        assert set(library.labels[fold.train].tolist()) == set(library.labels[fold.val].tolist()) == others


def test_no_head_classifies_a_song_that_it_was_trained_on() -> None:
    library = made((6, 6))
    _, numbers = np.unique(library.songs, return_inverse=True)

    def remember(train: Fragments, val: Fragments, *_: object) -> tuple[Any, dict[str, Any]]:
        seen = np.concatenate([np.asarray(features) for one in (train, val) for features, _ in one.batches(8)])
        return Memory(seen), {}

    head = find_model("vgg16-gap").head
    model = ModelSpec(name="memory", after="", summary="", backbone=LEVELS, head=head, train=remember)
    folds = whole_song_folds(library, 3, seed=1)
    features = numbers[:, np.newaxis].astype(np.float16)
    assert not out_of_fold(model, model.settings(), library, [features], folds, None).any()


def test_a_source_is_tested_whole() -> None:
    library = made((6, 6))
    sources = [f"source {int(song.split()[1]) % 4}" for song in library.songs]
    folds = whole_song_folds(library, None, seed=1, groups=sources)
    assert [{sources[row] for row in fold.test} for fold in folds] == [{f"source {number}"} for number in range(4)]
    assert all(not {sources[row] for row in fold.test} & {sources[row] for row in fold.train} for fold in folds)


def test_a_songs_answer_is_the_mean_of_its_tested_fragments() -> None:
    library = made((1, 1, 1), fragments=2)
    probabilities = np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8], [0.4, 0.6], [np.nan, np.nan], [np.nan, np.nan]])
    labels, means = mean_of_songs(library, probabilities)
    assert labels.tolist() == [0, 1]
    np.testing.assert_allclose(means, [[0.7, 0.3], [0.3, 0.7]])


def test_a_learning_curve_keeps_the_test_songs_and_so_many_other_songs_of_each_genre() -> None:
    library = made((15, 15))
    (fold, *_) = whole_song_folds(library, 5, seed=1)
    others = np.union1d(fold.train, fold.val)
    for songs in (1, 2, 100):
        smaller = fewer_songs(fold, library, songs, seed=2)
        assert np.array_equal(smaller.test, fold.test)
        assert np.array_equal(smaller.train, smaller.val)
        for label in range(len(library.genres)):
            own, every = (
                {library.songs[row] for row in part if library.labels[row] == label} for part in (smaller.train, others)
            )
            assert len(own) == min(songs, len(every))
        kept = {library.songs[row] for row in smaller.train}
        assert sum(library.songs[row] in kept for row in others) == len(smaller.train)  # whole songs


def values(variables: Sequence[Any]) -> int:
    """Count the numbers that variables hold now."""
    held = [tf.raw_ops.ReadVariableOp(resource=one.value.handle, dtype=one.dtype) for one in variables]
    return sum(int(tf.size(one)) for one in held)


def test_a_cross_validation_releases_its_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    def once(*arguments: Any, **settings: Any) -> tuple[keras.Model, dict[str, Any]]:
        heads.append(train_head(*arguments, **settings))
        return heads[-1]

    monkeypatch.setattr(cross_validation, "train_head", once)
    settings = Training(epochs=1, batch=4, units=(8,), dropout=0.25)
    library = made((3, 3), fragments=1)
    features = library.labels[:, None, None, None] + np.zeros((6, 2, 2, 512), np.float16)
    thirds = [np.array(rows) for rows in ([0, 3], [1, 4], [2, 5])]
    divisions = [Fold(fold, *thirds[fold:], *thirds[:fold]) for fold in range(3)]
    found = cross_validation.out_of_fold(find_model("vgg16-gap"), settings, library, [features], divisions, None)
    assert np.isfinite(found).all()
    assert len(heads) == 3
    assert all(head.optimizer.built for head, _ in heads)
    assert sum(values([*head.variables, *head.optimizer.variables]) for head, _ in heads) == 0

"""Splits of a rendered library, and heads that are trained on one part and predict another: cross-validation."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tumbao.components.ingest.records import decode_levels
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.splits import group_keys, split_songs
from tumbao.schema.errors import UserError
from tumbao.schema.record import SPLITS
from tumbao.trainer.dataset import Arrays
from tumbao.trainer.fit import release_memory, train_head
from tumbao.trainer.linear import song_means
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training

VALIDATION_PARTS = 8
"""One of so many parts of the training songs is the validation part of a fold."""

BATCH = 256
"""Fragments per call of a head."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fold:
    """One split of a library; the parts are int64 rows of the library, in its order.

    `fold` is the number of the part that is tested, from 0; None without cross-validation.
    """

    fold: int | None
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def digest(self) -> str:
        """Hash of the split."""
        digest = hashlib.sha256()
        for rows in (self.train, self.val, self.test):
            digest.update(rows.tobytes() + b"|")
        return digest.hexdigest()[:16]


def one_split(library: RenderedLibrary, split_by: str, groups: Mapping[str, str], seed: int) -> Fold:
    """Split a library once, as `tumbao run` does: about 80, 10 and 10 % of each genre.

    `groups` are those of `Catalog.groups(split_by)`, by song.
    Raises ValueError if a genre cannot be in every part.
    """
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for song, number, label in zip(library.songs, library.numbers.tolist(), library.labels.tolist(), strict=True):
        counts[library.genres[label]][song] = max(counts[library.genres[label]].get(song, 0), number + 1)
    assignment = split_songs(counts, split_by, seed, groups=groups)
    side = {
        (song, number): split for split in SPLITS for song, members in assignment[split].items() for number in members
    }
    sides = np.array([side[one] for one in zip(library.songs, library.numbers.tolist(), strict=True)])
    return Fold(None, *(np.flatnonzero(sides == split) for split in SPLITS))


def library_folds(
    library: RenderedLibrary, split_by: str, groups: Mapping[str, str], folds: int, seed: int
) -> list[Fold]:
    """Split a library into folds that keep together what a split by the same name does.

    `groups` are those of `Catalog.groups(split_by)`, by song. Raises UserError if a genre has a single song, since the
    model that it is tested with would be trained without its genre.
    """
    if split_by == "fragment":
        names = tuple(f"{song}:{number}" for song, number in zip(library.songs, library.numbers, strict=True))
        library = dataclasses.replace(library, songs=names)
    counts = Counter(label for _, label in set(zip(library.songs, library.labels.tolist(), strict=True)))
    if single := [genre for label, genre in enumerate(library.genres) if counts[label] == 1]:
        raise UserError(
            f"Expected at least 2 songs of each genre for cross-validation. Received: 1 of {', '.join(single)}. "
            "Add songs, or leave that genre out with --genres."
        )
    keys = group_keys(groups, split_by)
    return whole_song_folds(library, folds, seed, [keys.get(song) or song for song in library.songs])


def whole_song_folds(
    library: RenderedLibrary, folds: int | None, seed: int, groups: Sequence[str] | None = None
) -> list[Fold]:
    """Split a library so that every song is tested once, also with few songs of a genre.

    `groups`, str [n], are what is tested together, such as the artist of each fragment; by default songs. Without
    `folds`, each group is tested alone. An eighth of each genre's other songs, at least one, is the validation part; a
    genre's only song is in both parts.
    """
    songs, labels = np.array(library.songs), library.labels
    units = songs if groups is None else np.array(groups)
    rng = np.random.default_rng(seed)
    fold = np.unique(units, return_inverse=True)[1]
    if folds is not None:
        fold_of = {unit: (turn + label) % folds for label, turn, unit in _shuffled(units, labels, rng)}
        fold = np.array([fold_of[unit] for unit in units])
    result = []
    for number in np.unique(fold):
        others = np.flatnonzero(fold != number)
        order = list(_shuffled(songs[others], labels[others], rng))
        counts = Counter(label for label, _, _ in order)
        val = {song for label, turn, song in order if turn < math.ceil(counts[label] / VALIDATION_PARTS)}
        train = {song for label, _, song in order if song not in val or counts[label] == 1}
        train_rows, val_rows = (np.array([row for row in others if songs[row] in part]) for part in (train, val))
        result.append(Fold(int(number), train_rows, val_rows, np.flatnonzero(fold == number)))
    return result


def _shuffled(songs: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[int, int, str]]:
    """Yield label, number and name of each song, in random order within its label."""
    for label in np.unique(labels):
        for turn, song in enumerate(rng.permutation(np.unique(songs[labels == label]))):
            yield int(label), turn, song


class TrainedResult(NamedTuple):
    """Probabilities of the m test fragments, float32 [m, genres], the history, and the time of the training."""

    probabilities: np.ndarray
    history: dict[str, Any]
    seconds: float


def train_and_predict(
    model: ModelSpec,
    training: Training,
    library: RenderedLibrary,
    arrays: Sequence[np.ndarray],
    fold: Fold,
    weights: Path | None,
) -> TrainedResult:
    """Train a head on a split and classify its test part with the best weights.

    `arrays` are the backbone's features [n, ...] of the fragments, then of their masked copies. The validation part
    determines the best epoch. `weights` is the file of the backbone's weights, for a head that fine-tunes one block.
    """
    keras.utils.clear_session()  # otherwise the graphs of earlier trainings stay in memory
    genres, features = len(library.genres), arrays[0]
    train = Arrays(arrays, library.labels, fold.train, genres, library.songs)
    val = Arrays(arrays[:1], library.labels, fold.val, genres, library.songs)
    started = time.perf_counter()
    head, history = train_head(
        model,
        train,
        val,
        training,
        shape=features.shape[1:],
        weights=str(weights) if weights else "",
        genres=library.genres,
    )
    seconds = time.perf_counter() - started
    parts = (fold.test[begin : begin + BATCH] for begin in range(0, len(fold.test), BATCH))
    found = [np.asarray(head(features[part].astype(np.float32), training=False)) for part in parts]
    probabilities = np.concatenate(found).astype(np.float32)
    release_memory(head)
    return TrainedResult(probabilities, history, seconds)


def out_of_fold(
    model: ModelSpec,
    training: Training,
    library: RenderedLibrary,
    arrays: Sequence[np.ndarray],
    folds: Sequence[Fold],
    weights: Path | None,
) -> np.ndarray:
    """Classify every fragment with a head that was trained without its song; float32 [n, genres].

    Each fragment must be in the test part of one split, otherwise its row is NaN. For the other arguments, see
    `train_and_predict`.
    """
    probabilities = np.full((len(library.songs), len(library.genres)), np.nan, np.float32)
    for fold in folds:
        result = train_and_predict(model, training, library, arrays, fold, weights)
        probabilities[fold.test] = result.probabilities
    return probabilities


def mean_of_songs(library: RenderedLibrary, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the probabilities of each song's fragments, as `out_of_fold` returns them.

    Returns labels int64 [n] and probabilities float64 [n, genres] of the songs that were tested, by name.
    """
    rows = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    songs = song_means(probabilities[rows], library.labels[rows], [library.songs[row] for row in rows])
    return songs.labels, songs.features


def fewer_songs(fold: Fold, library: RenderedLibrary, songs: int, seed: int) -> Fold:
    """Keep at most so many songs of each genre, chosen at random, which are both training and validation part."""
    rows = np.union1d(fold.train, fold.val)
    order = _shuffled(np.array(library.songs)[rows], library.labels[rows], np.random.default_rng(seed))
    kept = {song for _, turn, song in order if turn < songs}
    chosen = np.array([row for row in rows if library.songs[row] in kept], np.int64)
    return dataclasses.replace(fold, train=chosen, val=chosen)


def nearest_neighbour(library: RenderedLibrary, folds: Sequence[Fold]) -> float:
    """Return the accuracy of a simple baseline: each tested song gets the genre of the most similar other song.

    A song is described by mean and standard deviation of each mel band, standardised; the metric is Euclidean.
    """
    images = (decode_levels(png) for png in library.images())
    spectra = np.array([[*levels.mean(axis=1), *levels.std(axis=1)] for levels in images])
    names = np.array(library.songs)
    right = []
    for fold in folds:
        known = np.setdiff1d(np.arange(len(names)), fold.test)
        train, test = (song_means(spectra[rows], library.labels[rows], names[rows]) for rows in (known, fold.test))
        nearest = make_pipeline(StandardScaler(), KNeighborsClassifier(1)).fit(*train)
        right.append(nearest.predict(test.features) == test.labels)
    return float(np.concatenate(right).mean())

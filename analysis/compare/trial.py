"""Trainings of models with their predictions for test fragments, stored in folders, and combined by model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tumbao.components.evaluation.run_data import SplitBy
from tumbao.components.ingest.atomic_write import new_folder
from tumbao.components.ingest.splits import SPLIT_BY, is_leaky
from tumbao.serving.song import validate

FACTS_FILE = "trial.json"
"""Everything except the arrays."""

ANSWERS_FILE = "answers.npz"
"""Labels, songs and probabilities."""

_ARRAYS = ("labels", "songs", "probabilities")


@dataclass(frozen=True, eq=False)
class Trial:
    """One training of a model and its predictions for n test fragments.

    `protocol` is what the split keeps together; the paper's ``fragment`` leaks. `fold` is the number of the test part,
    from 0; None without cross-validation. `genres` are in the order of the model's outputs. `labels` are int64 [n],
    `songs` [n] names the song of each fragment, and the rows of `probabilities`, float32 [n, genres], sum to 1.
    `val_accuracy` (0–1) and `best_epoch` (from 1) are of the best weights. `inference_ms` is for one
    fragment. `tflite_note` is the reason if `tflite_bytes` is None, else empty. `synthetic` says that the library's
    songs are composed, not recorded.

    Raises ValueError if the values do not fit together, or a song has two labels.
    """

    model: str
    protocol: SplitBy
    seed: int
    fold: int | None
    genres: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    songs: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    val_accuracy: float
    best_epoch: int
    train_seconds: float
    inference_ms: float
    parameters: int
    trainable_parameters: int
    tflite_bytes: int | None
    tflite_note: str
    synthetic: bool

    def __post_init__(self) -> None:
        if self.protocol not in SPLIT_BY:
            raise ValueError(f"The protocol must be one of {', '.join(SPLIT_BY)}. Received: {self.protocol!r}")
        self._check_arrays()
        if (self.tflite_bytes is None) != bool(self.tflite_note):
            raise ValueError(
                "Expected the size of the TFLite file, or a note that says why there is none, and not both. "
                f"Received: tflite_bytes={self.tflite_bytes}, tflite_note={self.tflite_note!r}"
            )

    def _check_arrays(self) -> None:
        n, types = len(self.songs), (self.labels.dtype.name, self.probabilities.dtype.name)
        shapes = (self.labels.shape, self.probabilities.shape)
        if n == 0 or shapes != ((n,), (n, len(self.genres))) or types != ("int64", "float32"):
            raise ValueError(
                f"Expected int64 labels [n] and float32 probabilities [n, {len(self.genres)}] for the n = {n} "
                f"fragments' songs, n at least 1. Received: {types[0]} {shapes[0]} and {types[1]} {shapes[1]}"
            )
        validate(self.probabilities)
        if self.labels.min() < 0 or self.labels.max() >= len(self.genres):
            raise ValueError(
                f"Labels must be indexes of the {len(self.genres)} genres. "
                f"Received: {self.labels.min()} to {self.labels.max()}"
            )
        label_of: dict[str, int] = {}
        for song, label in zip(self.songs, self.labels.tolist(), strict=True):
            if label_of.setdefault(song, label) != label:
                raise ValueError(f"All fragments of a song must have one label. Received: several labels for {song!r}")

    @property
    def leaky(self) -> bool:
        """Whether fragments of one song can be on both sides of the split."""
        return is_leaky(self.protocol)

    @property
    def accuracy(self) -> float:
        """Share of correctly classified test fragments, 0–1."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    def facts(self) -> dict[str, object]:
        """Return everything except the arrays, for `json.dumps`."""
        return {name: value for name, value in vars(self).items() if name not in _ARRAYS}

    def write(self, folder: Path) -> None:
        """Write the trial atomically; a folder that exists is replaced."""
        with new_folder(folder) as part:
            arrays = {"labels": self.labels, "songs": np.array(self.songs), "probabilities": self.probabilities}
            np.savez_compressed(part / ANSWERS_FILE, **arrays)
            (part / FACTS_FILE).write_text(json.dumps(self.facts(), indent=1) + "\n", encoding="utf-8")
            if folder.exists():
                shutil.rmtree(folder)

    @classmethod
    def read(cls, folder: Path) -> Trial:
        """Load a trial; raises FileNotFoundError if it is missing or incomplete."""
        facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        with np.load(folder / ANSWERS_FILE, allow_pickle=False) as arrays:
            songs = tuple(arrays["songs"].tolist())
            facts |= {"labels": arrays["labels"], "songs": songs, "probabilities": arrays["probabilities"]}
        return cls(**facts | {"genres": tuple(facts["genres"])})


@dataclass(frozen=True, eq=False)
class Pool:
    """Predictions of one model under one split, song by song.

    `trials` are sorted by seed and fold, the n `songs` by name. `labels` and `counts` (fragments of each song) are
    int64 [n]; `probabilities` are float32 [seeds, fragments, genres], song after song.
    """

    trials: tuple[Trial, ...]
    seeds: tuple[int, ...]
    songs: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]


def pools(trials: Sequence[Trial]) -> Mapping[str, Mapping[str, Pool]]:
    """Combine trials by protocol and model, both in the order of their first trial.

    Raises ValueError without trials, for different genres, if a trial occurs twice, if a song is in two folds of a
    split that keeps songs together, or if the trials of one protocol were not all tested on the same songs.
    """
    if len({trial.genres for trial in trials}) != 1:
        raise ValueError(
            "Expected trials with the same genres, at least one trial. Received: "
            + (" and ".join(sorted({str(trial.genres) for trial in trials})) or "none")
        )
    found: dict[str, dict[str, list[Trial]]] = {}
    for trial in trials:
        found.setdefault(trial.protocol, {}).setdefault(trial.model, []).append(trial)
    pooled = {protocol: {model: _pool(own) for model, own in models.items()} for protocol, models in found.items()}
    for models in pooled.values():
        first, *others = models.values()
        for other in others:
            _same_songs(_name(first.trials[0]), _tested(first), _name(other.trials[0]), _tested(other))
    return pooled


def _pool(trials: Sequence[Trial]) -> Pool:
    """Join the folds of each seed; sorting by song makes the order of fragments and folds irrelevant."""
    ordered = sorted(trials, key=lambda trial: (trial.seed, -1 if trial.fold is None else trial.fold))
    by_seed = [list(group) for _, group in groupby(ordered, key=lambda trial: trial.seed)]
    seeds = [_seed(group) for group in by_seed]
    for group, one in zip(by_seed, seeds, strict=True):
        _same_songs(_name(by_seed[0][0]), _tested(seeds[0]), _name(group[0]), _tested(one))
    first = seeds[0]
    return Pool(
        trials=tuple(ordered),
        seeds=tuple(group[0].seed for group in by_seed),
        songs=first.songs,
        labels=first.labels,
        counts=first.counts,
        probabilities=np.concatenate([one.probabilities for one in seeds]),
    )


def _seed(folds: Sequence[Trial]) -> Pool:
    numbers = [trial.fold for trial in folds]
    if len(set(numbers)) < len(numbers) or (None in numbers and len(numbers) > 1):
        raise ValueError(f"Expected each fold once, or one trial without folds. Received: {_name(folds[0])}, {numbers}")
    together = np.concatenate([np.array(trial.songs) for trial in folds])
    order = np.argsort(together, kind="stable")
    songs, starts, counts = np.unique(together[order], return_index=True, return_counts=True)
    labels = np.concatenate([trial.labels for trial in folds])[order]
    if not is_leaky(folds[0].protocol) and sum(len(set(trial.songs)) for trial in folds) > len(songs):
        raise ValueError(f"Expected each song in one fold. Received: a song in several folds of {_name(folds[0])}")
    if not np.array_equal(labels, np.repeat(labels[starts], counts)):
        raise ValueError(f"Expected one label for a song. Received: other labels in another fold of {_name(folds[0])}")
    return Pool(
        trials=tuple(folds),
        seeds=(folds[0].seed,),
        songs=tuple(songs.tolist()),
        labels=labels[starts],
        counts=counts.astype(np.int64),
        probabilities=np.concatenate([trial.probabilities for trial in folds])[order][np.newaxis],
    )


def _tested(pool: Pool) -> dict[str, tuple[int, int]]:
    """Return label and number of fragments of each song."""
    return dict(zip(pool.songs, zip(pool.labels.tolist(), pool.counts.tolist(), strict=True), strict=True))


def _same_songs(name: str, songs: dict[str, tuple[int, int]], other: str, others: dict[str, tuple[int, int]]) -> None:
    if songs == others:
        return
    song = next(song for song in sorted(songs | others) if songs.get(song) != others.get(song))
    raise ValueError(
        "Models can only be compared on the same test songs, with the same labels and numbers of fragments. Received: "
        f"{len(songs)} songs for {name}, {len(others)} for {other}; the first difference is {song!r}. "
        "A fold may be missing, or the library has changed. Run the comparison again, or leave the model out."
    )


def _name(trial: Trial) -> str:
    return f"{trial.model} (split by {trial.protocol}, seed {trial.seed})"

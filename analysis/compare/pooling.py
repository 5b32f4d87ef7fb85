"""Trials of one model combined: folds joined and seeds stacked, with every model on the same songs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from tumbao.analysis.compare.trial import Trial
from tumbao.components.ingest.splits import is_leaky


@dataclass(frozen=True, eq=False)
class Pool:
    """Answers of one model under one protocol, song by song.

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
        "What is compared must be tested on the same songs, with the same labels and as many fragments. Received: "
        f"{len(songs)} songs for {name}, {len(others)} for {other}; they differ first in {song!r}. "
        "Was a fold left out, or the library changed in between? Run again what is missing, or leave the model out."
    )


def _name(trial: Trial) -> str:
    return f"{trial.model} (split by {trial.protocol}, seed {trial.seed})"

"""Simulated trials with random probabilities, for tests of the comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tumbao.analysis.compare.trial import Trial
from tumbao.schema.genres import GENRES

SKILLS = {"vgg16": 1.5, "lstm": 0.9, "adaboost": 1.9, "musicnn": 2.6, "cnn": 0.7, "crnn": 2.3}


def simulate(
    models: Sequence[str],
    protocols: Sequence[str] = ("song", "fragment"),
    seeds: Sequence[int] = (0, 1, 2),
    folds: int | None = None,
    songs: int = 40,
    fragments: int = 6,
    synthetic: bool = True,
) -> Iterator[Trial]:
    """Simulate trials: a song is hard or easy for all models alike, and easier where the split is by fragment.

    Without folds, a split by song tests every fragment of a quarter of the songs, one by fragment a quarter of the
    fragments of every song.
    """
    rng, genres = np.random.default_rng(11), GENRES
    song = np.repeat(np.arange(songs), fragments)
    label = song % len(genres)
    hard = rng.normal(size=(songs, len(genres)))[song] + 0.7 * rng.normal(size=(len(song), len(genres)))
    part = {"song": song // len(genres), "artist": song // len(genres) // 2, "fragment": rng.permutation(len(song))}
    for model in models:
        own = rng.normal(size=(songs, len(genres)))[song]
        for protocol in protocols:
            for seed in seeds:
                noise = 0.5 * rng.normal(size=hard.shape) + 0.1 * rng.normal(size=len(genres))
                skill = SKILLS[model] + 2.0 * (protocol == "fragment")
                logits = hard + 0.5 * own + noise + skill * np.eye(len(genres))[label]
                powers = np.exp(logits)
                answers = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
                for fold in range(folds or 1):
                    tested = part[protocol] % (folds or 4) == fold
                    yield trial(
                        model=model,
                        protocol=protocol,
                        seed=seed,
                        fold=fold if folds else None,
                        genres=genres,
                        labels=label[tested].astype(np.int64),
                        songs=tuple(f"{genres[i % len(genres)]}/song-{i:03d}.mp3" for i in song[tested]),
                        probabilities=answers[tested],
                        train_seconds=10 * SKILLS[model] ** 3 + 3 * rng.random(),
                        tflite_bytes=None if model == "adaboost" else 1_000_000 * len(model),
                        tflite_note="boosted trees are no TensorFlow graph" if model == "adaboost" else "",
                        synthetic=synthetic,
                    )


def trial(**values: object) -> Trial:
    """Make a trial of two fragments of two songs, but for the values given."""
    default: dict[str, object] = {
        "model": "vgg16",
        "protocol": "song",
        "seed": 0,
        "fold": None,
        "genres": ("bachata", "salsa"),
        "labels": np.array([0, 1]),
        "songs": ("a", "b"),
        "probabilities": np.array([[0.75, 0.25], [0.5, 0.5]], np.float32),
        "val_accuracy": 0.75,
        "best_epoch": 3,
        "train_seconds": 12.5,
        "inference_ms": 18.25,
        "parameters": 15_000_000,
        "trainable_parameters": 300_000,
        "tflite_bytes": 15_000_000,
        "tflite_note": "",
        "synthetic": False,
    }
    return Trial(**default | values)  # type: ignore[arg-type]  # the names above are its fields

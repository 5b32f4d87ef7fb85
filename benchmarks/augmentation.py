"""Accuracy of `tumbao` with altered copies of the training songs, on songs that it was not trained on.

Each fragment of a training song joins the training as it is and in altered copies: with another tempo (±6 %) and pitch
(±1 semitone), or with another sound (equaliser, filter, noise, limiter, MP3 at 32 to 128 kbit/s, gain). The effects
are those of audiomentations, which Tumbao does not install: `pip install "audiomentations[extras]"`. `--by` is that of
ear.py. The last line is the result as JSON, with counts and no names.

    python benchmarks/augmentation.py LIBRARY --by song|COLUMN [--seeds 3] [--copies 2] [--draw 0]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import audiomentations as effects
import numpy as np
from ear import FOLDS, units
from sklearn.metrics import balanced_accuracy_score

from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment
from tumbao.components.ingest.mel import palette, traced_levels
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.pipeline.preparation import Preparation, prepare
from tumbao.schema.genres import GENRES
from tumbao.trainer.backbones import RHYTHM
from tumbao.trainer.cross_validation import whole_song_folds
from tumbao.trainer.linear import Songs, _fit, fit_regression, song_means
from tumbao.trainer.models.tumbao import GROUPS, composed_songs

TIME = [effects.TimeStretch(0.94, 1.06, p=1), effects.PitchShift(-1, 1, p=1)]
SOUND = [
    effects.SevenBandParametricEQ(-8, 8, p=0.8),
    effects.OneOf([effects.LowPassFilter(4_000, 7_000, p=1), effects.HighPassFilter(40, 200, p=1)], p=0.4),
    effects.AddGaussianSNR(15, 40, p=0.4),
    effects.Limiter(-24, -6, p=0.5),
    effects.Mp3Compression(32, 128, p=0.6),
    effects.Gain(-6, 6, p=0.3),
]
KINDS = {"none": [], "tempo and pitch": TIME, "sound": SOUND, "both": [*TIME, *SOUND]}


def decoded(library: RenderedLibrary) -> Iterator[np.ndarray]:
    """Decode the songs again: samples float32 [n] of each fragment, in the order of the library."""
    with WorkerPool() as pool:
        for file in dict.fromkeys(library.files):
            items = read_song(pool, AudioSegment(file, 0.0, None), RHYTHM.mel_spec, None)
            found = {one.index: one.samples for one in items if isinstance(one, Fragment)}
            for row in np.flatnonzero(np.array(library.files) == file):
                yield found[int(library.numbers[row])]


def altered(library: RenderedLibrary, alter: Callable[..., np.ndarray]) -> np.ndarray:
    """Compute the rhythm of an altered copy of each fragment, float32 [n, columns]."""
    spec = RHYTHM.mel_spec
    levels, network, colours = traced_levels(spec), RHYTHM.build(None, "float32"), np.asarray(palette(spec))
    rows = []
    for samples in decoded(library):
        copy = np.resize(alter(samples, spec.sample_rate_hz), spec.fragment_samples).astype(np.float32)
        rows.append(network.predict_on_batch(colours[levels(copy)][np.newaxis])[0])
    return np.array(rows)


def measure(prepared: Preparation, kind: str, data: Path, by: str, seeds: int, number: int) -> dict[str, object]:
    """Train on songs and their copies, with the penalty that the songs choose, and test on songs as they are."""
    library, (features,) = prepared.library(RHYTHM.mel_spec), prepared.features(RHYTHM)
    alter, names = effects.Compose(KINDS[kind]), np.array(library.songs)
    copies = [features, *(altered(library, alter) for _ in range(number if KINDS[kind] else 0))]
    unit = None if by == "song" else units(library, data, by)
    genres, composed = len(GENRES), composed_songs(GENRES)
    accuracies, balanced = [], []
    for seed in range(seeds):
        labels, predicted = [], []
        for fold in whole_song_folds(library, None if unit else FOLDS, seed, unit):
            train = np.union1d(fold.train, fold.val)
            songs, *others = (song_means(copy[train], library.labels[train], names[train]) for copy in copies)
            chosen = fit_regression(songs, genres, GROUPS, composed, seed)
            extended = Songs(*(np.concatenate(part) for part in zip(songs, *others, strict=True)))
            fitted = _fit(extended, genres, GROUPS, composed, chosen.penalty / len(copies), chosen.composed_weight)
            mean, deviation, kernel, bias = fitted
            test = song_means(features[fold.test], library.labels[fold.test], names[fold.test])
            labels += test.labels.tolist()
            predicted += ((test.features - mean) / deviation @ kernel + bias).argmax(axis=1).tolist()
        accuracies.append(float(np.mean(np.array(labels) == predicted)))
        balanced.append(float(balanced_accuracy_score(labels, predicted)))
    accuracy, balance = (round(statistics.mean(values), 3) for values in (accuracies, balanced))
    prepared.display.say(f"{kind}: {accuracy:.3f} / {balance:.3f}")
    return {"augmentation": kind, "by": by, "accuracy": accuracy, "balanced_accuracy": balance, "seeds": seeds}


def main() -> None:
    """Measure each kind of augmentation and print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--by", default="song")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=2, help="altered copies of each fragment (default %(default)s)")
    parser.add_argument("--draw", type=int, default=0, help="seed of the effects (default %(default)s)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which effects (default %(default)s)")
    parser.add_argument("--workspace", type=Path, default=Path("tumbao-workspace") / "ear")
    arguments = parser.parse_args()
    arguments.workspace.mkdir(parents=True, exist_ok=True)
    random.seed(arguments.draw)  # which the effects draw from
    log = arguments.workspace / "ear.log"
    with prepare(arguments.library, arguments.workspace, GENRES, "auto", "", log) as prepared:
        results = [
            measure(prepared, kind, arguments.library, arguments.by, arguments.seeds, arguments.copies)
            for kind in arguments.kinds.split(",")
        ]
    print(json.dumps(results))  # noqa: T201 - the last line is the result


if __name__ == "__main__":
    main()

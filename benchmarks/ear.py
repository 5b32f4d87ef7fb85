"""Accuracy of models on songs, or on sources of songs, that they were not trained on.

LIBRARY is a folder or a list of songs (CSV). `--by song` tests every song once, in five folds. `--by COLUMN`, a column
of the list such as the source of a recording, tests the songs of each value with a model that was trained on all
others. New music asks this question, since songs of one source share mastering and codec; `--only VALUE` tests one
value alone. `--by composed` tests all songs with a model `tumbao` that was trained on composed songs alone,
standardised by these or by the songs themselves.
`--own 5,20,50` tests the songs of each value of COLUMN with `tumbao`, standardised by statistics of their own: mean and
deviation of the training songs count as so many songs more.
A song's answer is the mean of its fragments' probabilities. The learning curve has the balanced accuracy by number of
training songs of each genre; `ood_auroc` tells new songs from those of a genre that is left out, as in
out_of_distribution.py. The last line is the result as JSON, with counts and no names.

    python benchmarks/ear.py LIBRARY --by song|COLUMN|composed [--only VALUE] [--models tumbao,musicnn] [--seeds 1]
        [--curve 2,4,8,16] [--own 5,20,50]
"""

from __future__ import annotations

import argparse
import collections
import csv
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from out_of_distribution import without_a_genre
from rich.console import Console
from rich.table import Table
from sklearn.metrics import balanced_accuracy_score

from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.pipeline.preparation import Preparation, prepare
from tumbao.schema.genres import GENRES
from tumbao.trainer.backbones import RHYTHM
from tumbao.trainer.cross_validation import Fold, fewer_songs, mean_of_songs, out_of_fold, whole_song_folds
from tumbao.trainer.distance import HiddenFeatures
from tumbao.trainer.linear import Songs, fit_regression, song_means, standardisation
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.models.tumbao import GROUPS, composed_songs

FOLDS = 5


def units(library: RenderedLibrary, data: Path, by: str) -> list[str]:
    """Return the value of a column of the list for each fragment."""
    with data.open(encoding="utf-8", newline="") as file:
        value_of = {str((data.parent / row["file_name"]).absolute()): row[by] for row in csv.DictReader(file)}
    return [value_of[file] for file in library.files]


def answers(prepared: Preparation, model: ModelSpec, folds: Sequence[Fold], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return label and predicted label of every song, each tested once."""
    training = model.settings(seed=seed)
    backbone = model.backbone_for(training)
    library, arrays = prepared.library(backbone.mel_spec), prepared.features(backbone, training.augment)
    weights = prepared.backbone_weights(backbone).path
    found = out_of_fold(model, training, library, arrays, folds, weights)
    labels, probabilities = mean_of_songs(library, found)
    return labels, probabilities.argmax(axis=1)


def measure(
    prepared: Preparation, name: str, data: Path, by: str, only: str, seeds: int, curve: Sequence[int]
) -> dict[str, object]:
    """Measure one model, on the songs of one value of a column if `only` is set; means over the seeds."""
    model = find_model(name)
    library = prepared.library(model.backbone.mel_spec)
    unit = None if by == "song" else units(library, data, by)
    accuracies, balanced, by_songs = [], [], collections.defaultdict(list)
    confused: collections.Counter[str] = collections.Counter()
    for seed in range(seeds):
        folds = whole_song_folds(library, None if unit else FOLDS, seed, unit)
        if unit and only:
            folds = [fold for fold in folds if unit[fold.test[0]] == only]
            if not folds:
                raise SystemExit(f"Expected a value of {by} in --only. Received: {only}")
        labels, predicted = answers(prepared, model, folds, seed)
        accuracies.append(float((labels == predicted).mean()))
        balanced.append(float(balanced_accuracy_score(labels, predicted)))
        wrong = labels != predicted
        confused.update(
            f"{library.genres[label]} as {library.genres[answer]}"
            for label, answer in zip(labels[wrong], predicted[wrong], strict=True)
        )
        recalls = [
            f"{int((predicted[labels == label] == label).sum())}/{(labels == label).sum()}"
            for label in range(len(library.genres))
        ]
        prepared.display.say(
            f"{name}, seed {seed}: {accuracies[-1]:.3f} / {balanced[-1]:.3f}; "
            + ", ".join(map(" ".join, zip(library.genres, recalls, strict=True)))
        )
        for songs in curve:
            smaller = [fewer_songs(fold, library, songs, seed) for fold in folds]
            by_songs[songs].append(float(balanced_accuracy_score(*answers(prepared, model, smaller, seed))))
    return {
        "model": name,
        "by": by,
        "accuracy": round(statistics.mean(accuracies), 3),
        "balanced_accuracy": round(statistics.mean(balanced), 3),
        "songs": len(labels),
        "sources": len(folds) if unit else len(labels),
        "confused": {pair: round(count / seeds, 1) for pair, count in confused.most_common()},
        "ood_auroc": new_genres(prepared) if model.backbone == RHYTHM and not only else None,
        "learning_curve": {songs: round(statistics.mean(values), 3) for songs, values in by_songs.items()},
    }


def new_genres(prepared: Preparation) -> float:
    """Return the AUROC of the distance: new songs of known genres against those of a genre that is left out."""
    (features,) = prepared.features(RHYTHM)
    library = prepared.library(RHYTHM.mel_spec)
    songs = HiddenFeatures(np.asarray(features, np.float64), library.labels, np.array(library.songs))
    return without_a_genre(songs, {})[0]["ood_auroc"]


def measure_composed(prepared: Preparation) -> list[dict[str, object]]:
    """Measure the regression on composed songs, with two ways to standardise the features of the library's songs."""
    (features,) = prepared.features(RHYTHM)
    library = prepared.library(RHYTHM.mel_spec)
    songs = song_means(np.asarray(features, np.float64), library.labels, library.songs)
    composed = composed_songs(library.genres)
    if composed is None:
        raise SystemExit("There are no composed songs of these genres.")
    found = fit_regression(composed, len(library.genres), GROUPS)
    results = []
    for name, (mean, deviation) in {
        "by composed songs": (found.mean, found.deviation),
        "by the songs": standardisation(songs.features, GROUPS),
    }.items():
        predicted = ((songs.features - mean) / deviation @ found.kernel + found.bias).argmax(axis=1)
        results.append(
            {
                "model": f"tumbao, standardised {name}",
                "by": "composed",
                "accuracy": round(float((songs.labels == predicted).mean()), 3),
                "balanced_accuracy": round(float(balanced_accuracy_score(songs.labels, predicted)), 3),
                "songs": len(songs.labels),
                "sources": "",
            }
        )
    return results


def measure_own_statistics(
    prepared: Preparation, data: Path, by: str, counts: Sequence[int]
) -> list[dict[str, object]]:
    """Measure `tumbao` on each source, standardised by the training songs, and also by the source's own songs."""
    (features,) = prepared.features(RHYTHM)
    library = prepared.library(RHYTHM.mel_spec)
    songs = song_means(np.asarray(features, np.float64), library.labels, library.songs)
    source_of = dict(zip(library.songs, units(library, data, by), strict=True))
    sources = np.array([source_of[song] for song in sorted(source_of)])
    predicted = {count: np.empty(len(sources), int) for count in (0, *counts)}
    for source in np.unique(sources):
        tested = sources == source
        train = Songs(songs.features[~tested], songs.labels[~tested])
        found = fit_regression(train, len(library.genres), GROUPS, composed_songs(library.genres))
        own = songs.features[tested]
        roots = found.deviation / np.maximum(train.features.std(axis=0), 1e-6)  # of the sizes of the groups
        for count in predicted:
            share = len(own) / (len(own) + count) if count else 0.0
            mean = share * own.mean(axis=0) + (1 - share) * found.mean
            variance = share * own.var(axis=0) + (1 - share) * train.features.var(axis=0)
            logits = (own - mean) / (np.maximum(np.sqrt(variance), 1e-6) * roots) @ found.kernel + found.bias
            predicted[count][tested] = logits.argmax(axis=1)
    return [
        {
            "model": f"tumbao, own statistics beside those of {count} songs" if count else "tumbao",
            "by": by,
            "accuracy": round(float((songs.labels == labels).mean()), 3),
            "balanced_accuracy": round(float(balanced_accuracy_score(songs.labels, labels)), 3),
            "songs": len(sources),
            "sources": len(np.unique(sources)),
        }
        for count, labels in predicted.items()
    ]


def main() -> None:
    """Measure the models and print a table, then the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--by", default="song")
    parser.add_argument("--only", default="", help="value of COLUMN whose songs are tested")
    parser.add_argument("--models", default="tumbao")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--curve", default="", help="numbers of training songs of each genre, such as 2,4,8,16")
    parser.add_argument(
        "--own", default="", help="numbers of songs that the training's statistics count as, such as 5,20,50"
    )
    parser.add_argument("--workspace", type=Path, default=Path("tumbao-workspace") / "ear")
    arguments = parser.parse_args()
    if arguments.only and (arguments.own or arguments.by in ("song", "composed")):
        parser.error("--only needs --by COLUMN, without --own")
    arguments.workspace.mkdir(parents=True, exist_ok=True)
    curve = [int(songs) for songs in filter(None, arguments.curve.split(","))]
    log = arguments.workspace / "ear.log"
    with prepare(arguments.library, arguments.workspace, GENRES, "auto", "", log) as prepared:
        if arguments.by == "composed":
            results = measure_composed(prepared)
        elif arguments.own:
            counts = [int(count) for count in arguments.own.split(",")]
            results = measure_own_statistics(prepared, arguments.library, arguments.by, counts)
        else:
            results = [
                measure(prepared, name, arguments.library, arguments.by, arguments.only, arguments.seeds, curve)
                for name in arguments.models.split(",")
            ]
    table = Table("model", "by", "accuracy", "balanced", "songs", "sources")
    for one in results:
        table.add_row(*(str(one[key]) for key in ("model", "by", "accuracy", "balanced_accuracy", "songs", "sources")))
    Console().print(table)
    print(json.dumps(results))  # noqa: T201


if __name__ == "__main__":
    main()

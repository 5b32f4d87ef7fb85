"""How well the distance of `tumbao` tells songs of its kind from other sound.

LIBRARY is a folder or a list of songs. Two kinds of models are judged, and a third with `--new` and `--others`:

- composed: fitted to composed songs; it should accept other composed songs and refuse those of LIBRARY;
- without a genre: fitted to the songs of LIBRARY without one genre, in three folds; it should accept the songs of the
  fold that is left out and refuse those of the genre. Figures are means over genres and folds.
- fitted to all songs of LIBRARY: it should accept those of the list NEW, from other sources, and refuse those of the
  list OTHERS, such as rock or speech, which its column `genre` tells apart.

The first two should also refuse sounds that are no music, and a composed rock beat. `refused` is the share at the
model's threshold, `refused_at_90` that at the threshold that accepts 90 % of the new songs. `--plot FILE` draws the
shares that are refused by the share that is accepted. The last line is the result as JSON, with counts and no names.

    python benchmarks/out_of_distribution.py LIBRARY [--new NEW --others OTHERS] [--songs 12] [--plot FILE]
        [--workspace FOLDER]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import soxr
from matplotlib import pyplot
from scipy.signal import lfilter
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from tumbao.components.ingest.fragments import Fragment, read
from tumbao.components.ingest.mel import mel_image
from tumbao.datasets.demo.library import make_library
from tumbao.datasets.demo.render import SAMPLE_RATE_HZ, waveform
from tumbao.datasets.demo.score import Score, strokes
from tumbao.pipeline.preparation import prepare
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import FINE
from tumbao.trainer.backbones import RHYTHM
from tumbao.trainer.distance import HiddenFeatures, distance_rule, song_distances
from tumbao.trainer.linear import song_means, standardisation
from tumbao.trainer.models.tumbao import GROUPS

RATE, SIZE = FINE.sample_rate_hz, FINE.fragment_samples
TIME = np.arange(SIZE) / RATE
SOUNDS = 20
"""Number of sounds of each kind."""

CUT_SECONDS = 10


def sounds(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Make one fragment of each kind of sound."""
    spectrum = np.fft.rfft(rng.normal(size=SIZE)) / np.sqrt(np.arange(SIZE // 2 + 1) + 1)
    clicks = np.zeros(SIZE)
    clicks[:: RATE // int(rng.integers(1, 9))] = 0.9
    return {
        "white noise": rng.uniform(-0.5, 0.5, SIZE),
        "pink noise": np.fft.irfft(spectrum, SIZE),
        "tone": np.sin(2 * np.pi * rng.uniform(80, 4_000) * TIME),
        "clicks": clicks,
        "silence with hum": 3e-4 * np.sin(2 * np.pi * 50 * TIME) + 1e-5 * rng.normal(size=SIZE),
        "like speech": speech(rng),
        "rock beat": rock(rng),
    }


def speech(rng: np.random.Generator) -> np.ndarray:
    """Make syllables of three formants at random over a voice with a falling and rising pitch."""
    phase = np.cumsum(rng.uniform(90, 200) * 2 ** (0.2 * np.sin(2.5 * TIME))) / RATE
    pulses = np.diff(np.floor(phase), prepend=0) + 0.01 * rng.normal(size=SIZE)
    syllables = []
    for syllable in np.array_split(pulses, 120):
        for hz in (rng.uniform(300, 800), rng.uniform(900, 2_300), 2_600):
            radius = np.exp(-100 * np.pi / RATE)
            syllable = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / RATE), radius**2], syllable)
        syllables.append(syllable * np.hanning(len(syllable)) * (rng.random() > 0.15))
    return np.concatenate(syllables)


def rock(rng: np.random.Generator) -> np.ndarray:
    """Compose drums with a backbeat, a bass in eighths and power chords."""
    score = Score(float(rng.uniform(95, 160)), (4, 4), 0, is_minor=False, facts={})
    drums, bass, guitar = score.track("drums", is_drum=True), score.track("bass", 33), score.track("guitar", 30)
    kicks = strokes((0, 2, 2.5), (36, 36, 36), (112, 104, 90))
    beat = (*kicks, *strokes((1, 3), (38, 38), (116, 116)), *strokes(np.arange(8) / 2, [42] * 8, [80] * 8))
    drums.loop(0, 96, 4, beat)
    for bar in range(24):
        root = 40 + int(rng.choice((0, 3, 5, 7)))
        guitar.chord(4 * bar, 3.8, (root, root + 7, root + 12), 96)
        for eighth in range(8):
            bass.add(4 * bar + eighth / 2, 0.4, root - 12, 100)
    played = waveform(score.midi()).mean(axis=1)
    return np.resize(soxr.resample(played, SAMPLE_RATE_HZ, RATE), SIZE)


class Space:
    """The standardised rhythm of a training part's songs, and the distance that is fitted there."""

    def __init__(self, train: HiddenFeatures) -> None:
        songs = song_means(train.features, train.labels, train.songs.tolist())
        self._mean, self._deviation = standardisation(songs.features, GROUPS)
        found = distance_rule(self._scaled(train), None)
        if found is None:
            raise SystemExit("There are too few songs.")
        self._distance, self.rule = found

    def _scaled(self, part: HiddenFeatures) -> HiddenFeatures:
        return part._replace(features=(part.features - self._mean) / self._deviation)

    def distances(self, part: HiddenFeatures) -> np.ndarray:
        """Compute the distance of each song."""
        return song_distances(self._distance, self._scaled(part))


def rhythm_of(waves: list[np.ndarray]) -> HiddenFeatures:
    """Compute the features of fragments, each a song of its own."""
    model = RHYTHM.build(None, "float32")
    scaled = [(wave / max(1.0, np.abs(wave).max())).astype(np.float32) for wave in waves]
    features = [model(mel_image(wave[np.newaxis], FINE), training=False).numpy()[0] for wave in scaled]
    return HiddenFeatures(np.array(features, float), np.zeros(len(waves), int), np.arange(len(waves)).astype(str))


def library(data: Path, workspace: Path, genres: tuple[str, ...] = GENRES) -> tuple[HiddenFeatures, list[str]]:
    """Compute the features of a library's fragments, and list its files."""
    workspace.mkdir(parents=True, exist_ok=True)
    with prepare(data, workspace, genres, "auto", "", workspace / "log") as prepared:
        (features,) = prepared.features(RHYTHM)
        rendered = prepared.library(RHYTHM.mel_spec)
    songs = HiddenFeatures(np.asarray(features, float), rendered.labels, np.array(rendered.songs))
    return songs, sorted(set(rendered.files))


def cuts(files: list[str]) -> dict[str, HiddenFeatures]:
    """Cut seconds from the beginning of songs, repeated and with silence."""
    starts = [next(item for item in islice(read(file, FINE), 1) if isinstance(item, Fragment)) for file in files]
    short = [start.samples[: CUT_SECONDS * RATE] for start in starts]
    return {
        "whole fragment": rhythm_of([start.samples for start in starts]),
        "repeated": rhythm_of([np.resize(one, SIZE) for one in short]),
        "with silence": rhythm_of([np.pad(one, (0, SIZE - len(one))) for one in short]),
    }


def figures(space: Space, inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    """Compare the distances of new songs with those of others."""
    labels = np.repeat([0, 1], (len(inside), len(outside)))
    return {
        "ood_auroc": float(roc_auc_score(labels, np.concatenate([inside, outside]))),
        "acceptance": float(np.mean(inside <= space.rule.threshold)),
        "refusal": float(np.mean(outside > space.rule.threshold)),
        "refused_at_90": float(np.mean(outside > np.quantile(inside, 0.9))),
    }


def refused(space: Space, others: Mapping[str, HiddenFeatures]) -> dict[str, float]:
    """Return the share of each kind that is refused."""
    return {name: float(np.mean(space.distances(part) > space.rule.threshold)) for name, part in others.items()}


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Average figures by name."""
    return {name: round(float(np.mean([row[name] for row in rows])), 3) for name in rows[0]}


def without_a_genre(songs: HiddenFeatures, others: Mapping[str, HiddenFeatures]) -> tuple[dict[str, float], ...]:
    """Leave out each genre, and a fold of the other songs."""
    names, first = np.unique(songs.songs, return_index=True)
    labels, found, noise = songs.labels[first], [], []
    for genre in np.unique(labels):
        known = labels != genre
        for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(names[known], labels[known]):
            space = Space(songs.rows(np.isin(songs.songs, names[known][train])))
            parts = (names[known][test], names[~known])
            inside, outside = (space.distances(songs.rows(np.isin(songs.songs, part))) for part in parts)
            found.append(figures(space, inside, outside))
            noise.append(refused(space, others))
    return mean(found), mean(noise)


def new_and_others(whole: Space, new: Path, others: Path, workspace: Path) -> dict[str, dict[str, float]]:
    """Compare the distances of new songs with those of each kind of others."""
    inside = whole.distances(library(new, workspace / "new")[0])
    with others.open(encoding="utf-8", newline="") as file:
        kinds = tuple(sorted({row["genre"] for row in csv.DictReader(file)}))
    songs, _ = library(others, workspace / "others", kinds)
    found = {}
    for label, kind in enumerate(kinds):
        outside = whole.distances(songs.rows(songs.labels == label))
        found[kind] = {"songs": len(outside), **mean([figures(whole, inside, outside)])}
    return found


def draw(file: Path, inside: np.ndarray, outside: np.ndarray) -> None:
    """Plot the share of others that are refused by the share of new songs that are accepted."""
    bounds = np.sort(np.concatenate([inside, outside]))
    figure, axes = pyplot.subplots(figsize=(4.5, 3), layout="constrained")
    axes.plot([np.mean(inside <= one) for one in bounds], [np.mean(outside > one) for one in bounds])
    axes.axvline(0.9, ls="--", color="grey", lw=0.8)
    axes.set(xlabel="unseen composed songs accepted", ylabel="real songs refused", xlim=(0, 1), ylim=(0, 1.02))
    figure.savefig(file)


def main() -> None:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument(
        "--songs", type=int, default=12, help="composed songs of each genre that the model is fitted to"
    )
    parser.add_argument("--new", type=Path, help="list of songs of other sources")
    parser.add_argument("--others", type=Path, help="list of songs of other genres")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--workspace", type=Path, default=Path("tumbao-workspace") / "out-of-distribution")
    options = parser.parse_args()
    if bool(options.new) != bool(options.others):
        parser.error("--new and --others go together")
    composed = {}
    for name, count, seed in (("train", options.songs, 7), ("new", 12, 8)):
        folder = options.workspace / f"{name}-{count}"
        make_library(folder / "library", count, seed)
        composed[name] = library(folder / "library", folder)
    real, files = library(options.library, options.workspace / "library")
    rngs = [np.random.default_rng(seed) for seed in range(SOUNDS)]
    made = [sounds(rng) for rng in rngs]
    others = {name: rhythm_of([one[name] for one in made]) for name in made[0]}
    space = Space(composed["train"][0])
    inside, outside = space.distances(composed["new"][0]), space.distances(real)
    result = {
        "songs": len(np.unique(composed["train"][0].songs)),
        "composed": {name: round(value, 3) for name, value in figures(space, inside, outside).items()},
        "sounds_refused": refused(space, others),
        "cuts_accepted": {
            name: round(1 - share, 3) for name, share in refused(space, cuts(composed["new"][1])).items()
        },
    }
    genre, noise = without_a_genre(real, others)
    result |= {"without_a_genre": genre, "sounds_refused_without_a_genre": noise}
    whole = Space(real)
    result["cuts_of_training_songs_accepted"] = {
        name: round(1 - share, 3) for name, share in refused(whole, cuts(files)).items()
    }
    if options.new and options.others:
        result["new_and_others"] = new_and_others(whole, options.new, options.others, options.workspace)
    if options.plot:
        draw(options.plot, inside, outside)
    print(json.dumps(result))  # noqa: T201


if __name__ == "__main__":
    main()

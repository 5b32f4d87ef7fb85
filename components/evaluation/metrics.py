"""Metrics of the test split with 95 % intervals: fragments, whole songs, calibration and abstention.

Temperature and threshold come from held-out songs, those of cross-validation or the validation split, and all metrics
from the test songs, which were used for neither. The rules of `serving.song` are measured on the model's raw
probabilities, as in the paper; `PRODUCT` is the sum after temperature scaling, which the pushed model returns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from tumbao.schema.hierarchy import grouped, has_subgenres, roll_up
from tumbao.serving.calibration import (
    Bin,
    Calibration,
    CoveragePoint,
    calibrate,
    coverage_curve,
    expected_error,
    log_loss,
    reliability,
    song_probabilities,
)
from tumbao.serving.song import RULES

Z_95 = 1.959963984540054  # 97.5 % quantile of the normal distribution
RESAMPLES = 2_000  # of the bootstrap: interval ends are stable to about half a percentage point
ENOUGH_SONGS = 10  # for a bootstrap over songs alone
SMALLEST_PROBABILITY = 1e-7  # in the cross-entropy, as in Keras
PRODUCT = "calibrated sum"  # the product's own rule: the sum of probabilities after temperature scaling
PAIRS = (("sum", "votes"), ("sum", "log-mean"), (PRODUCT, "sum"))  # rules that are compared; the paper's two first
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Interval:
    """A share with the ends of its 95 % interval, in 0–1."""

    value: float
    low: float
    high: float


def wilson_interval(successes: float, trials: int) -> Interval:
    """Compute Wilson's 95 % interval of a share, which is accurate for few trials and near 0 and 1 too."""
    # not scipy: the mean accuracy of songs makes `successes` a fraction, which binomtest rejects
    share, spread = successes / trials, Z_95**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4) / (1 + spread)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the two-sided p-value of McNemar's exact test from the songs that only one classifier gets right."""
    both = only_first + only_second
    return float(binomtest(only_first, both).pvalue) if both else 1.0


def discordant(first: np.ndarray, second: np.ndarray) -> tuple[int, int]:
    """Count what only the first, and what only the second of two classifiers gets right; both are bool [n]."""
    return int((first & ~second).sum()), int((second & ~first).sum())


def is_worse(won: int, lost: int) -> bool:
    """Check whether a classifier is significantly worse than another; `won` and `lost` are its `discordant` counts."""
    return lost > won and mcnemar(won, lost) < SIGNIFICANCE


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The model's predictions on the test split, for n fragments."""

    genres: tuple[str, ...]  # in the order of the model's outputs
    labels: npt.NDArray[np.integer]  # [n]
    probabilities: npt.NDArray[np.floating]  # [n, genres]
    songs: npt.NDArray[np.str_]  # [n]

    @classmethod
    def of_test_split(cls, genres: Sequence[str], predictions: Iterable[Mapping[str, Any]]) -> Evaluation:
        """Select the test fragments of SongEvaluation's predictions."""
        lines = [line for line in predictions if line["split"] == "test"]
        labels, probabilities, songs = (
            np.array([line[key] for line in lines]) for key in ("label", "probabilities", "song")
        )
        return cls(tuple(genres), labels, probabilities, songs)

    @property
    def accuracy(self) -> float:
        """Share of correctly classified fragments."""
        return float((self.probabilities.argmax(axis=1) == self.labels).mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy of the fragments, in nats."""
        of_truth = self.probabilities[np.arange(len(self.labels)), self.labels]
        return float(-np.log(np.clip(of_truth, SMALLEST_PROBABILITY, 1.0)).mean())


@dataclass(frozen=True)
class GenreScore:
    """Metrics of one genre, in 0–1; NaN where undefined: never predicted, or without a fragment."""

    genre: str
    fragments: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Scores:
    """All metrics of the test split's fragments."""

    fragments: int
    songs: int
    loss: float  # mean cross-entropy in nats
    accuracy: Interval  # resamples songs
    confusion: npt.NDArray[np.int64]  # fragments by true genre (rows) and predicted genre (columns)
    genres: tuple[GenreScore, ...]
    main: Scores | None = None  # of genres as sums over their sub-genres; None without sub-genres


def scores(evaluation: Evaluation) -> Scores:
    """Compute every metric of the test split; deterministic."""
    labels, probabilities = evaluation.labels, evaluation.probabilities
    predicted = probabilities.argmax(axis=1)
    indexes = range(len(evaluation.genres))
    by_genre = precision_recall_fscore_support(labels, predicted, labels=indexes, zero_division=np.nan)
    return Scores(
        fragments=len(labels),
        songs=len(np.unique(evaluation.songs)),
        loss=evaluation.loss,
        accuracy=interval_over_songs(predicted == labels, evaluation.songs),
        confusion=confusion_matrix(labels, predicted, labels=indexes),
        genres=tuple(
            GenreScore(genre, int(fragments), float(precision), float(recall), float(f1))
            for genre, precision, recall, f1, fragments in zip(evaluation.genres, *by_genre, strict=True)
        ),
        main=scores(_rolled_up(evaluation)) if has_subgenres(evaluation.genres) else None,
    )


def _rolled_up(evaluation: Evaluation) -> Evaluation:
    genres, probabilities = roll_up(evaluation.probabilities, evaluation.genres)
    _, genre_of = grouped(evaluation.genres)
    return Evaluation(genres, genre_of[evaluation.labels], probabilities, evaluation.songs)


def song_weights(groups: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Sample songs with replacement, as many as each group [n] has; return how often, float64 [RESAMPLES, n]."""
    rng = np.random.default_rng(0)
    weights = np.empty((RESAMPLES, len(groups)))
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=RESAMPLES)
    return weights


def middle(replicates: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the middle 95 % of the replicates [r], or None if they have no spread: it is unknown then, not empty."""
    low, high = np.nanquantile(replicates, [0.025, 0.975])
    alike = math.isclose(np.nanmin(replicates), np.nanmax(replicates), abs_tol=1e-12)
    return None if alike else (float(low), float(high))


def bootstrap_interval(
    value: float, replicates: npt.NDArray[np.float64], songs: int = 0, *, few: bool = False
) -> Interval:
    """Compute an interval from replicates [r]; that of a share of few songs, or without spread, contains Wilson's."""
    ends = middle(replicates)
    low, high = ends or (value, value)
    if songs and (few or not ends):
        wilson = wilson_interval(value * songs, songs)
        low, high = min(low, wilson.low), max(high, wilson.high)
    return Interval(value, low, high)


def interval_over_songs(right: npt.NDArray[np.bool_], songs: npt.NDArray[np.str_]) -> Interval:
    """Compute the accuracy of n fragments with a 95 % bootstrap interval that resamples whole songs.

    Fragments of one song resemble each other, so resampling them independently would make the interval too narrow.
    """
    _, song, fragments = np.unique(songs, return_inverse=True, return_counts=True)
    weights = song_weights(np.zeros(len(fragments), np.int64))
    replicates = (weights @ np.bincount(song, weights=right)) / (weights @ fragments)
    return bootstrap_interval(float(right.mean()), replicates, len(fragments), few=len(fragments) < ENOUGH_SONGS)


def prediction(song: str, fragment: int, label: int, **outputs: np.ndarray) -> dict[str, Any]:
    """Return the line of a fragment in a file of predictions: song, fragment, label and a model's outputs by name."""
    rounded = {name: np.round(output.astype(float), 7).tolist() for name, output in outputs.items()}
    return {"song": song, "fragment": int(fragment), "label": int(label), **rounded}


def by_song(predictions: Iterable[Mapping[str, Any]]) -> dict[str, tuple[np.ndarray, int]]:
    """Group the probabilities [k, g] of each song's fragments, in their order, with the song's label."""
    songs: dict[str, list[Mapping[str, Any]]] = {}
    for line in sorted(predictions, key=lambda one: one["fragment"]):
        songs.setdefault(line["song"], []).append(line)
    return {name: (np.array([one["probabilities"] for one in song]), song[0]["label"]) for name, song in songs.items()}


@dataclass(frozen=True)
class RuleScore:
    """Accuracy of one rule, a key of `serving.song.RULES` or `PRODUCT`, with Wilson's interval."""

    rule: str
    right: int
    accuracy: Interval


@dataclass(frozen=True)
class Comparison:
    """Two rules on the same songs, with McNemar's exact test of the songs that only one predicts correctly."""

    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float

    @property
    def sentence(self) -> str:
        """Description of the outcome."""
        better = self.first if self.only_first > self.only_second else self.second
        outcome = f"significant, “{better}” is better" if self.p_value < SIGNIFICANCE else "not significant"
        return (
            f"Songs on which only “{self.first}” is correct: {self.only_first}; only “{self.second}”: "
            f"{self.only_second} (p = {self.p_value:.3f}). The difference is {outcome}."
        )


@dataclass(frozen=True)
class Confidence:
    """Quality of the probabilities of the test songs."""

    log_loss: float  # mean cross-entropy in nats
    calibration_error: float  # expected calibration error over the bins
    bins: tuple[Bin, ...]  # in ascending order of confidence


@dataclass(frozen=True)
class Answered:
    """Effect of abstention on the test songs."""

    songs: int  # reach the threshold
    coverage: Interval  # share of `songs`
    accuracy: Interval | None  # of `songs`; None if there are none


@dataclass(frozen=True)
class SongMetrics:
    """All metrics of the test songs."""

    songs: int
    rules: tuple[RuleScore, ...]  # the product's rule first
    comparisons: tuple[Comparison, ...]
    calibration: Calibration  # of the held-out songs
    before: Confidence  # without the temperature
    after: Confidence
    answered: Answered
    curve: tuple[CoveragePoint, ...]  # accuracy by coverage
    main: RuleScore | None = None  # of genres as sums over their sub-genres; None without sub-genres

    @property
    def product(self) -> RuleScore:
        """The product's rule."""
        return self.rules[0]

    def to_json(self) -> dict[str, Any]:
        """Convert the metrics to plain values, with a sentence for each comparison."""
        values = dataclasses.asdict(self)
        for comparison, one in zip(values["comparisons"], self.comparisons, strict=True):
            comparison["sentence"] = one.sentence
        return values


def song_metrics(
    val_songs: Sequence[np.ndarray],
    val_labels: np.ndarray,
    songs: Sequence[np.ndarray],
    labels: np.ndarray,
    genres: Sequence[str] = (),
) -> SongMetrics:
    """Compute the metrics of songs from the probabilities [k, g] of each song's fragments.

    `genres` names the model's outputs, needed where some of them are sub-genres.
    """
    calibration = calibrate(val_songs, val_labels)
    raw, tempered = song_probabilities(songs, None), song_probabilities(songs, calibration.temperature)
    answers = {PRODUCT: tempered.argmax(axis=1)}
    answers |= {name: np.array([rule(song) for song in songs]) for name, rule in RULES.items()}
    right = {name: answer == labels for name, answer in answers.items()}
    counts = {name: int(one.sum()) for name, one in right.items()}
    answered = tempered.max(axis=1) >= calibration.threshold
    number, main = int(answered.sum()), None
    if has_subgenres(genres):
        summed, genre_of = roll_up(tempered, genres)[1], grouped(genres)[1]
        main = _rule(PRODUCT, int((summed.argmax(axis=1) == genre_of[labels]).sum()), len(labels))
    return SongMetrics(
        songs=len(labels),
        rules=tuple(_rule(name, count, len(labels)) for name, count in counts.items()),
        comparisons=tuple(_compare(first, second, right) for first, second in PAIRS),
        calibration=calibration,
        before=_confidence(raw, labels),
        after=_confidence(tempered, labels),
        answered=Answered(
            songs=number,
            coverage=wilson_interval(number, len(labels)),
            accuracy=wilson_interval(int(right[PRODUCT][answered].sum()), number) if number else None,
        ),
        curve=coverage_curve(tempered, labels),
        main=main,
    )


def _rule(name: str, right: int, songs: int) -> RuleScore:
    return RuleScore(name, right, wilson_interval(right, songs))


def _compare(first: str, second: str, right: dict[str, np.ndarray]) -> Comparison:
    only_first, only_second = discordant(right[first], right[second])
    return Comparison(first, second, only_first, only_second, mcnemar(only_first, only_second))


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> Confidence:
    bins = reliability(probabilities, labels)
    return Confidence(log_loss(probabilities, labels), expected_error(bins), bins)

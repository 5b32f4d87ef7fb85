"""Metrics of the test split with 95 % intervals: fragments, whole songs, calibration and abstention.

Accuracies, precision, recall and F1 are in 0–1; an undefined value (a genre that was never predicted, or has no
fragment) is NaN. Rows of the confusion matrix are the true genres, columns the predicted ones.

Temperature and threshold come from the validation songs, the in-distribution range from the training songs, and all
metrics from the test songs, which were used for neither. The rules of `serving.song` are measured on the model's raw
probabilities, as in the paper; `PRODUCT` is the sum after temperature scaling, which the pushed model returns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
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
from tumbao.serving.out_of_distribution import DistributionRanges
from tumbao.serving.song import RULES

Z_95 = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


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
    """Compute the two-sided p-value of McNemar's exact test of two classifiers on the same songs.

    The arguments are the numbers of songs that only one of the classifiers predicts correctly.

    Examples
    --------
    >>> round(mcnemar(5, 0), 5), round(mcnemar(6, 0), 5)
    (0.0625, 0.03125)
    """
    both = only_first + only_second
    return float(binomtest(only_first, both).pvalue) if both else 1.0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The model's predictions on the test split, by fragment.

    `labels` int [n], `probabilities` float [n, genres] with rows that sum to 1, `songs` str [n]; `genres` is in the
    order of the model's outputs. All fragments of a song have one label. `accuracy` and `loss` are the Evaluator's
    figures for these fragments, as used by the gate and `model.json`; where they are None, they are computed from the
    predictions.
    """

    genres: tuple[str, ...]
    labels: npt.NDArray[np.integer]
    probabilities: npt.NDArray[np.floating]
    songs: npt.NDArray[np.str_]
    accuracy: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        n = len(self.labels)
        shapes = (self.labels.shape, self.probabilities.shape, self.songs.shape)
        if n == 0 or shapes != ((n,), (n, len(self.genres)), (n,)):
            raise ValueError(
                f"Expected labels [n], probabilities [n, {len(self.genres)}] and songs [n] with n at least 1. "
                f"Received: shapes {shapes[0]}, {shapes[1]}, {shapes[2]}"
            )
        pairs = sorted(set(zip(self.songs.tolist(), self.labels.tolist(), strict=True)))
        twice = [song for (song, _), (following, _) in pairwise(pairs) if song == following]
        if twice:
            raise ValueError(f"All fragments of a song must have one label. Received: several labels for {twice[0]!r}")

    @classmethod
    def of_test_split(
        cls, genres: Sequence[str], predictions: Iterable[Mapping[str, Any]], accuracy: float, loss: float
    ) -> Evaluation:
        """Select the test fragments of SongEvaluation's predictions; `accuracy` and `loss` are the Evaluator's."""
        lines = [line for line in predictions if line["split"] == "test"]
        labels, probabilities, songs = (
            np.array([line[key] for line in lines]) for key in ("label", "probabilities", "song")
        )
        return cls(tuple(genres), labels, probabilities, songs, accuracy, loss)


RESAMPLES = 2_000
"""Bootstrap resamples, enough for interval ends that are stable to about half a percentage point."""

SMALLEST_PROBABILITY = 1e-7
"""Probabilities are clipped to this value in the cross-entropy, as in Keras."""


@dataclass(frozen=True)
class GenreScore:
    """Metrics of one genre; `fragments` are those of the test split."""

    genre: str
    fragments: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Scores:
    """All metrics of the test split.

    `loss` is the mean cross-entropy of the fragments in nats; the interval of `accuracy` (of fragments) resamples
    songs; `confusion` int64 [genres, genres] counts fragments. `main` has the same metrics for genres as sums over
    their sub-genres; None without sub-genres.
    """

    fragments: int
    songs: int
    loss: float
    accuracy: Interval
    confusion: npt.NDArray[np.int64]
    genres: tuple[GenreScore, ...]
    main: Scores | None = None


def scores(evaluation: Evaluation) -> Scores:
    """Compute every metric of the test split; deterministic."""
    labels, probabilities = evaluation.labels, evaluation.probabilities
    predicted = probabilities.argmax(axis=1)
    indexes = range(len(evaluation.genres))
    by_genre = precision_recall_fscore_support(labels, predicted, labels=indexes, zero_division=np.nan)
    share = interval_over_songs(predicted == labels, evaluation.songs)
    of_truth = np.clip(probabilities[np.arange(len(labels)), labels], SMALLEST_PROBABILITY, 1.0)
    return Scores(
        fragments=len(labels),
        songs=len(np.unique(evaluation.songs)),
        loss=float(-np.log(of_truth).mean()) if evaluation.loss is None else evaluation.loss,
        accuracy=share if evaluation.accuracy is None else dataclasses.replace(share, value=evaluation.accuracy),
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


def interval_over_songs(right: npt.NDArray[np.bool_], songs: npt.NDArray[np.str_], seed: int = 0) -> Interval:
    """Compute the accuracy of fragments with a 95 % bootstrap interval that resamples whole songs.

    `right` bool [n] and `songs` str [n] are by fragment, n at least 1. Fragments of one song resemble each other, so
    resampling them independently would make the interval too narrow. Where all songs have the same accuracy (every
    fragment correct, or one song only) resampling finds no spread, so Wilson's interval for that many songs is used.
    """
    _, song, fragments = np.unique(songs, return_inverse=True, return_counts=True)
    right_in_song = np.bincount(song, weights=right)
    accuracy = float(right.mean())
    if np.ptp(right_in_song / fragments) == 0:
        return wilson_interval(accuracy * len(fragments), len(fragments))
    equal = np.full(len(fragments), 1 / len(fragments))
    drawn = np.random.default_rng(seed).multinomial(len(fragments), equal, size=RESAMPLES)
    low, high = np.quantile((drawn @ right_in_song) / (drawn @ fragments), [0.025, 0.975])
    return Interval(accuracy, float(low), float(high))


PRODUCT = "calibrated sum"
"""The product's own rule: the sum of probabilities after temperature scaling."""

PAIRS = (("sum", "votes"), ("sum", "log-mean"), (PRODUCT, "sum"))
"""Rules that are compared with each other; the paper's two come first."""

SIGNIFICANCE = 0.05
"""Significance level: differences with a smaller p-value are reported as significant."""


@dataclass(frozen=True)
class RuleScore:
    """Accuracy of one rule, a key of `serving.song.RULES` or `PRODUCT`.

    `right` is the number of songs that are predicted correctly; `accuracy` is their share, with Wilson's interval.
    """

    rule: str
    right: int
    accuracy: Interval


@dataclass(frozen=True)
class Comparison:
    """Two rules on the same songs.

    `only_first` and `only_second` are the numbers of songs that only this rule predicts correctly. `p_value` is that of
    McNemar's exact test, two-sided.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is significant."""
        return self.p_value < SIGNIFICANCE

    @property
    def sentence(self) -> str:
        """Description of the outcome."""
        differing = self.only_first + self.only_second
        if not differing:
            return f"“{self.first}” and “{self.second}” are correct on the same songs: there is no difference to test."
        found = (
            f"Only “{self.first}” is correct on {_songs(self.only_first)}, "
            f"only “{self.second}” on {_songs(self.only_second)} (p = {self.p_value:.3f})"
        )
        if self.is_significant:
            better = self.first if self.only_first > self.only_second else self.second
            return f"{found}: the difference is significant, “{better}” is better."
        if differing < 6:
            return f"{found}: the difference is not significant; it cannot be with fewer than 6 differing songs."
        return f"{found}: the difference is not significant."


@dataclass(frozen=True)
class Confidence:
    """Quality of the probabilities of the test songs.

    `log_loss` is the mean cross-entropy in nats, `calibration_error` the expected calibration error over `bins`, in [0,
    1]. The bins are in ascending order of confidence.
    """

    log_loss: float
    calibration_error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Answered:
    """Effect of abstention on the test songs.

    `songs` reach the threshold and are in distribution; only these get a genre. `unfamiliar` are out of distribution,
    whatever their confidence. `coverage` is the share of `songs`, `accuracy` the share of correct ones among them (None
    if there are none), both with Wilson's interval.
    """

    songs: int
    unfamiliar: int
    coverage: Interval
    accuracy: Interval | None


@dataclass(frozen=True)
class SongMetrics:
    """All metrics of the test songs.

    `rules` begins with the product's rule; `calibration` was fitted on the validation songs; `familiarity` is the
    in-distribution range of the training songs, None if there were too few. `before` and `after` are without and with
    the temperature. `curve` is accuracy by coverage. `main` is the accuracy of the product's rule for genres as sums
    over their sub-genres; None without sub-genres.
    """

    songs: int
    rules: tuple[RuleScore, ...]
    comparisons: tuple[Comparison, ...]
    calibration: Calibration
    familiarity: DistributionRanges | None
    before: Confidence
    after: Confidence
    answered: Answered
    curve: tuple[CoveragePoint, ...]
    main: RuleScore | None = None

    @property
    def product(self) -> RuleScore:
        """The product's rule."""
        return next(score for score in self.rules if score.rule == PRODUCT)

    def to_json(self) -> dict[str, Any]:
        """Convert the metrics to plain values, with a sentence for each comparison."""
        values = dataclasses.asdict(self)
        for comparison, one in zip(values["comparisons"], self.comparisons, strict=True):
            comparison["sentence"] = one.sentence
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SongMetrics:
        """Create an instance from the output of `to_json`."""
        return TypeAdapter(cls).validate_python(values)


def song_metrics(
    val_songs: Sequence[np.ndarray],
    val_labels: np.ndarray,
    songs: Sequence[np.ndarray],
    labels: np.ndarray,
    in_distribution: np.ndarray,
    familiarity: DistributionRanges | None,
    genres: Sequence[str] = (),
) -> SongMetrics:
    """Compute the metrics of songs.

    `val_songs` and `songs` hold the probabilities [k, g] of each song's fragments; k may differ. `val_labels` [m] and
    `labels` [n] are the true genres, n at least 1. `in_distribution`, bool [n], is of the test songs.
    `genres` names the model's outputs, needed where some of them are sub-genres.
    """
    calibration = calibrate(val_songs, val_labels)
    raw, tempered = song_probabilities(songs, None), song_probabilities(songs, calibration.temperature)
    answers = {PRODUCT: tempered.argmax(axis=1)}
    answers |= {name: np.array([rule(song) for song in songs]) for name, rule in RULES.items()}
    right = {name: answer == labels for name, answer in answers.items()}
    counts = {name: int(one.sum()) for name, one in right.items()}
    answered = (tempered.max(axis=1) >= calibration.threshold) & in_distribution
    number = int(answered.sum())
    return SongMetrics(
        songs=len(labels),
        rules=tuple(_rule(name, count, len(labels)) for name, count in counts.items()),
        comparisons=tuple(_compare(first, second, right) for first, second in PAIRS),
        calibration=calibration,
        familiarity=familiarity,
        before=_confidence(raw, labels),
        after=_confidence(tempered, labels),
        answered=Answered(
            songs=number,
            unfamiliar=int((~in_distribution).sum()),
            coverage=wilson_interval(number, len(labels)),
            accuracy=wilson_interval(int(right[PRODUCT][answered].sum()), number) if number else None,
        ),
        curve=coverage_curve(tempered, labels),
        main=_rule(PRODUCT, _right_genres(tempered, labels, genres), len(labels)) if has_subgenres(genres) else None,
    )


def _right_genres(probabilities: np.ndarray, labels: np.ndarray, leaves: Sequence[str]) -> int:
    _, summed = roll_up(probabilities, leaves)
    _, genre_of = grouped(leaves)
    return int((summed.argmax(axis=1) == genre_of[labels]).sum())


def _rule(name: str, right: int, songs: int) -> RuleScore:
    return RuleScore(name, right, wilson_interval(right, songs))


def _compare(first: str, second: str, right: dict[str, np.ndarray]) -> Comparison:
    only_first, only_second = (
        int((right[one] & ~right[other]).sum()) for one, other in ((first, second), (second, first))
    )
    return Comparison(first, second, only_first, only_second, mcnemar(only_first, only_second))


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> Confidence:
    bins = reliability(probabilities, labels)
    return Confidence(log_loss(probabilities, labels), expected_error(bins), bins)


def _songs(count: int) -> str:
    return f"{count} song{'' if count == 1 else 's'}"

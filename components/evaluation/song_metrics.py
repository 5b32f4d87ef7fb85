"""Metrics of whole songs: accuracy of each rule, comparisons of rules, calibration and abstention.

Temperature and threshold come from the validation songs, the in-distribution range from the training songs, and all
metrics from the test songs, which were used for neither. The rules of `serving.song` are measured on the model's raw
probabilities, as in the paper; `PRODUCT` is the sum after temperature scaling, which the pushed model returns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tumbao.components.evaluation.intervals import Interval, mcnemar, wilson_interval
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

PRODUCT = "calibrated sum"
"""The product's own rule: the sum of probabilities after temperature scaling."""

PAIRS = (("sum", "votes"), ("sum", "log-mean"), (PRODUCT, "sum"))
"""Rules that are compared with each other; the paper's two come first."""

SIGNIFICANCE = 0.05
"""Significance level: differences with a smaller p-value are reported as significant."""


@dataclasses.dataclass(frozen=True)
class RuleScore:
    """Accuracy of one rule, a key of `serving.song.RULES` or `PRODUCT`.

    `right` is the number of songs that are predicted correctly; `accuracy` is their share, with Wilson's interval.
    """

    rule: str
    right: int
    accuracy: Interval


@dataclasses.dataclass(frozen=True)
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


@dataclasses.dataclass(frozen=True)
class Confidence:
    """Quality of the probabilities of the test songs.

    `log_loss` is the mean cross-entropy in nats, `calibration_error` the expected calibration error over `bins`, in [0,
    1]. The bins are in ascending order of confidence.
    """

    log_loss: float
    calibration_error: float
    bins: tuple[Bin, ...]


@dataclasses.dataclass(frozen=True)
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


@dataclasses.dataclass(frozen=True)
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
        words = [{"sentence": one.sentence} for one in self.comparisons]
        values = dataclasses.asdict(self)
        comparisons = [one | word for one, word in zip(values["comparisons"], words, strict=True)]
        return values | {"comparisons": comparisons}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SongMetrics:
        """Create an instance from the output of `to_json`."""
        comparisons = [{key: value for key, value in one.items() if key != "sentence"} for one in values["comparisons"]]
        answered, ranges, main = values["answered"], values["familiarity"], values["main"]
        return cls(
            songs=values["songs"],
            rules=tuple(map(_rule_from_json, values["rules"])),
            comparisons=tuple(Comparison(**one) for one in comparisons),
            calibration=Calibration(**values["calibration"]),
            familiarity=ranges and DistributionRanges.from_json(ranges),
            before=_confidence_from_json(values["before"]),
            after=_confidence_from_json(values["after"]),
            answered=Answered(
                songs=answered["songs"],
                unfamiliar=answered["unfamiliar"],
                coverage=Interval(**answered["coverage"]),
                accuracy=Interval(**answered["accuracy"]) if answered["accuracy"] else None,
            ),
            curve=tuple(CoveragePoint(**one) for one in values["curve"]),
            main=main and _rule_from_json(main),
        )


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


def _rule_from_json(values: dict[str, Any]) -> RuleScore:
    return RuleScore(**values | {"accuracy": Interval(**values["accuracy"])})


def _compare(first: str, second: str, right: dict[str, np.ndarray]) -> Comparison:
    only_first, only_second = (
        int((right[one] & ~right[other]).sum()) for one, other in ((first, second), (second, first))
    )
    return Comparison(first, second, only_first, only_second, mcnemar(only_first, only_second))


def _confidence(probabilities: np.ndarray, labels: np.ndarray) -> Confidence:
    bins = reliability(probabilities, labels)
    return Confidence(log_loss(probabilities, labels), expected_error(bins), bins)


def _confidence_from_json(values: dict[str, Any]) -> Confidence:
    return Confidence(**values | {"bins": tuple(Bin(**one) for one in values["bins"])})


def _songs(count: int) -> str:
    return f"{count} song{'' if count == 1 else 's'}"

"""How well songs are answered: each rule on the test songs, rules against each other, and what the confidence is worth.

Temperature and threshold come from the validation songs, what is familiar from the training songs, and all figures from
the test songs, which had no part in either. The rules of `serving.song` are measured on the model's own probabilities,
as the paper has them; `PRODUCT` is the sum after the temperature, which is what the pushed model answers.
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
from tumbao.serving.out_of_distribution import Familiarity
from tumbao.serving.song import RULES

PRODUCT = "calibrated sum"
"""The product's own rule: the sum of tempered probabilities."""

PAIRS = (("sum", "votes"), ("sum", "log-mean"), (PRODUCT, "sum"))
"""Rules that are compared with each other; the paper's two come first."""

SIGNIFICANCE = 0.05
"""A difference that chance makes less often than this is said to mean something."""


@dataclasses.dataclass(frozen=True)
class RuleScore:
    """How one rule does.

    Parameters
    ----------
    rule : str
        A name of `serving.song.RULES`, or `PRODUCT`.
    right : int
        Songs that it answers rightly.
    accuracy : Interval
        Their share, with Wilson's interval.
    """

    rule: str
    right: int
    accuracy: Interval


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two rules on the same songs.

    Parameters
    ----------
    first, second : str
        The rules.
    only_first, only_second : int
        Songs that only this one answers rightly.
    p_value : float
        Of McNemar's exact test, two-sided.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float

    @property
    def means_something(self) -> bool:
        """Whether chance makes such a difference rarely."""
        return self.p_value < SIGNIFICANCE

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        differing = self.only_first + self.only_second
        if not differing:
            return (
                f"“{self.first}” and “{self.second}” are right on the same songs: here they do not differ, "
                "and whether they do elsewhere these songs cannot tell."
            )
        found = (
            f"“{self.first}” alone is right on {_songs(self.only_first)}, "
            f"“{self.second}” alone on {_songs(self.only_second)} (p = {self.p_value:.3f})"
        )
        if self.means_something:
            better = self.first if self.only_first > self.only_second else self.second
            return f"{found}: the difference means something, “{better}” is better."
        if differing < 6:
            return f"{found}: the difference means nothing; fewer than 6 songs on which they differ never could."
        return f"{found}: the difference means nothing, chance makes one as large too often."


@dataclasses.dataclass(frozen=True)
class Confidence:
    """What the confidence of the test songs is worth.

    Parameters
    ----------
    log_loss : float
        Mean cross-entropy of the songs, in nats.
    calibration_error : float
        Expected calibration error over `bins`, in [0, 1].
    bins : tuple of Bin
        Confidence and accuracy, from the least sure songs to the surest.
    """

    log_loss: float
    calibration_error: float
    bins: tuple[Bin, ...]


@dataclasses.dataclass(frozen=True)
class Answered:
    """What abstention does to the test songs.

    Parameters
    ----------
    songs : int
        How many are answered: they reach the threshold and are familiar; the others are none of the genres.
    unfamiliar : int
        How many are not familiar, whatever their confidence.
    coverage : Interval
        Their share, with Wilson's interval.
    accuracy : Interval or None
        Share of right answers among them, with Wilson's interval; None if none is answered.
    """

    songs: int
    unfamiliar: int
    coverage: Interval
    accuracy: Interval | None


@dataclasses.dataclass(frozen=True)
class SongMetrics:
    """All figures of songs.

    Parameters
    ----------
    songs : int
        Songs in the test split.
    rules : tuple of RuleScore
        The product's rule, then those of `serving.song.RULES`.
    comparisons : tuple of Comparison
        The pairs of `PAIRS`.
    calibration : Calibration
        What the validation songs gave.
    familiarity : Familiarity or None
        What the training songs gave; None if they were too few to tell.
    before, after : Confidence
        Without and with the temperature.
    answered : Answered
        With the threshold, and familiar.
    curve : tuple of CoveragePoint
        Accuracy by coverage, with the temperature.
    main : RuleScore or None
        How well the product's rule finds genres by the sums over their leaves; None where there are no sub-genres, of
        which all other figures speak.
    """

    songs: int
    rules: tuple[RuleScore, ...]
    comparisons: tuple[Comparison, ...]
    calibration: Calibration
    familiarity: Familiarity | None
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
        """Make plain values of the figures, with each comparison in words.

        Returns
        -------
        dict
            For `json.dumps`.
        """
        words = [{"sentence": one.sentence} for one in self.comparisons]
        values = dataclasses.asdict(self)
        comparisons = [one | word for one, word in zip(values["comparisons"], words, strict=True)]
        return values | {"comparisons": comparisons}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SongMetrics:
        """Read what `to_json` made.

        Parameters
        ----------
        values : dict
            From `json.loads`.

        Returns
        -------
        SongMetrics
            The same figures.
        """
        comparisons = [{key: value for key, value in one.items() if key != "sentence"} for one in values["comparisons"]]
        answered, known, main = values["answered"], values["familiarity"], values["main"]
        return cls(
            songs=values["songs"],
            rules=tuple(map(_rule_from_json, values["rules"])),
            comparisons=tuple(Comparison(**one) for one in comparisons),
            calibration=Calibration(**values["calibration"]),
            familiarity=known and Familiarity.from_json(known),
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
    familiar: np.ndarray,
    familiarity: Familiarity | None,
    genres: Sequence[str] = (),
) -> SongMetrics:
    """Compute the figures of songs.

    Parameters
    ----------
    val_songs : sequence of np.ndarray [shape=(k, g)]
        Probabilities of the fragments of each validation song; k may differ.
    val_labels : np.ndarray [shape=(m,), dtype=int]
        The true genres of the validation songs.
    songs : sequence of np.ndarray [shape=(k, g)]
        The same of each test song.
    labels : np.ndarray [shape=(n,), dtype=int]
        The true genres of the test songs, n at least 1.
    familiar : np.ndarray [shape=(n,), dtype=bool]
        Which test songs are familiar.
    familiarity : Familiarity or None
        What the training songs gave; None if they were too few to tell.
    genres : sequence of str
        Names of the genres, where some of them are sub-genres.

    Returns
    -------
    SongMetrics
        The figures.
    """
    calibration = calibrate(val_songs, val_labels)
    raw, tempered = song_probabilities(songs, None), song_probabilities(songs, calibration.temperature)
    answers = {PRODUCT: tempered.argmax(axis=1)}
    answers |= {name: np.array([rule(song) for song in songs]) for name, rule in RULES.items()}
    right = {name: answer == labels for name, answer in answers.items()}
    counts = {name: int(one.sum()) for name, one in right.items()}
    answered = (tempered.max(axis=1) >= calibration.threshold) & familiar
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
            unfamiliar=int((~familiar).sum()),
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

"""Decision on a model from songs that it was not trained on: blessed, undecided or refused.

Every criterion compares an interval over songs with a bound. A criterion is undecided if the songs are too few to tell;
the number of further songs that would decide it, at the same share of correct ones, is part of the answer. A model is
refused if one criterion refuses it, and undecided if one cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from tumbao.components.evaluation.metrics import Z_95, Interval, discordant, is_worse, mcnemar, wilson_interval

Outcome = Literal["blessed", "undecided", "refused"]

MOST_SONGS = 10_000
"""Largest number of songs that is searched for a decision."""

LEAST_DIFFERING = 6
"""McNemar's exact test cannot be significant with fewer songs on which two models differ."""


@dataclass(frozen=True)
class Criterion:
    """One condition, with the 95 % interval over songs of what it is about."""

    name: str
    share: Interval
    songs: int
    bound: float
    outcome: Outcome
    flag: str = ""  # option that sets the bound
    more_songs: int | None = None  # of the same share would decide it; None if decided, or beyond `MOST_SONGS`

    @property
    def sentence(self) -> str:
        """Description of a condition that is not met."""
        named = f" ({self.flag})" if self.flag else ""
        found = (
            f"{self.name} is {self.share.value:.3f} on {self.songs} songs (95 % interval {self.share.low:.3f} to "
            f"{self.share.high:.3f}), expected {self.bound:.3f}{named}"
        )
        if self.outcome != "undecided":
            return found
        more = f"about {self.more_songs}" if self.more_songs else f"more than {MOST_SONGS:,}"
        side = "against" if self.share.value < self.bound else "for"
        return f"{found}: too few songs to tell; {more} more with the same share would decide {side} it"


@dataclass(frozen=True)
class ServedComparison:
    """The model and the served one on the same test songs."""

    only_new: int  # songs that only the new model recognises
    only_served: int
    songs: int
    p_value: float

    @property
    def worse(self) -> bool:
        """Whether the new model is significantly worse."""
        return is_worse(self.only_new, self.only_served)

    @property
    def sentence(self) -> str:
        """Description of the result."""
        return (
            f"of {self.songs} test songs the served model alone recognises {self.only_served}, "
            f"the new one alone {self.only_new} (McNemar's exact test: p = {self.p_value:.3f})"
        )


@dataclass(frozen=True)
class Decision:
    """The decision and all that it rests on."""

    outcome: Outcome
    criteria: tuple[Criterion, ...]
    comparison: ServedComparison | None
    songs: int  # each was predicted by a model that was not trained on it
    cross_validated: int  # those of them that were predicted in cross-validation; the others are test songs
    balanced_accuracy: float

    @property
    def accuracy(self) -> Interval:
        """The share of songs that are recognised."""
        return self.criteria[0].share

    @property
    def reasons(self) -> str:
        """Description of every condition that is not met."""
        broken = [one.sentence for one in self.criteria if one.outcome != "blessed"]
        if self.comparison and self.comparison.worse:
            broken.append(f"worse than the served model: {self.comparison.sentence}")
        return "; ".join(broken)


class Songs(NamedTuple):
    """Label and predicted label of songs, int [n], of which the first `cross_validated` are not test songs."""

    labels: np.ndarray
    predicted: np.ndarray
    cross_validated: int


def decide(
    songs: Songs,
    genres: Sequence[str],
    *,
    min_accuracy: float,
    min_recall: float,
    nearest: float | None = None,
    comparison: ServedComparison | None = None,
) -> Decision:
    """Decide on a model.

    Its accuracy must reach `min_accuracy`, and surpass the share of the most frequent genre and `nearest`, the accuracy
    of the nearest neighbour by spectrum (or `min_accuracy`, if that is lower: nothing surpasses a good one by much). No
    genre's recall may be below `min_recall`, and the served model must not be better.
    """
    labels, right = songs.labels, songs.labels == songs.predicted
    counts = np.bincount(labels, minlength=len(genres))
    hits = np.bincount(labels[right], minlength=len(genres))
    total = int(right.sum()), len(labels)
    beaten = {"the most frequent genre": float(counts.max() / len(labels))}
    if nearest is not None:
        beaten["the nearest neighbour"] = min(nearest, min_accuracy)
    criteria = [_criterion("accuracy", *total, min_accuracy, "value", "--min-accuracy")]
    criteria += [_criterion(f"accuracy against {name}", *total, bound, "low") for name, bound in beaten.items()]
    for genre, of_genre, number in zip(genres, hits.tolist(), counts.tolist(), strict=True):
        if number:
            criteria.append(_criterion(f"recall of {genre}", of_genre, number, min_recall, "high", "--min-recall"))
    outcomes = {one.outcome for one in criteria}
    refused = "refused" in outcomes or bool(comparison and comparison.worse)
    return Decision(
        outcome="refused" if refused else "undecided" if "undecided" in outcomes else "blessed",
        criteria=tuple(criteria),
        comparison=comparison,
        songs=len(labels),
        cross_validated=songs.cross_validated,
        balanced_accuracy=float(np.mean(hits[counts > 0] / counts[counts > 0])),
    )


def compare(labels: np.ndarray, new: np.ndarray, served: np.ndarray) -> ServedComparison:
    """Compare the predictions of two models, int [n], on the same songs."""
    only_new, only_served = discordant(new == labels, served == labels)
    return ServedComparison(only_new, only_served, len(labels), mcnemar(only_new, only_served))


def lowest_plausible(bound: float, songs: int) -> float:
    """Return the smallest share whose 95 % interval over so many songs reaches a bound.

    It inverts Wilson's interval, and is the threshold of a first check that refuses only what the songs show.
    """
    return max(0.0, bound - Z_95 * float(np.sqrt(bound * (1 - bound) / songs))) if songs else 0.0


def _criterion(name: str, right: int, songs: int, bound: float, end: str, flag: str = "") -> Criterion:
    """Refuse an interval below the bound, and bless one whose `end` (value, low or high) reaches it."""

    def outcome(share: Interval) -> Outcome:
        if share.high < bound:
            return "refused"
        return "blessed" if getattr(share, end) >= bound - 1e-9 else "undecided"

    share = wilson_interval(right, songs)
    decided, more = outcome(share), None
    if decided == "undecided":
        larger = range(songs + 1, MOST_SONGS + 1)
        more = next((n - songs for n in larger if outcome(wilson_interval(share.value * n, n)) != "undecided"), None)
    return Criterion(name, share, songs, bound, decided, flag, more)

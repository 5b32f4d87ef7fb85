"""The decision refuses what the songs show, blesses what they show to be good, and says when they are too few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from tumbao.components.evaluation.decision import Decision, Songs, compare, decide, lowest_plausible

GENRES = ("cumbia", "salsa")


def decision(right: tuple[int, int], songs: tuple[int, int], **bounds: Any) -> Decision:
    """Decide on a model that recognises so many songs of each genre."""
    labels = np.repeat([0, 1], songs)
    predicted = np.concatenate(
        [np.where(np.arange(n) < r, label, 1 - label) for label, (r, n) in enumerate(zip(right, songs, strict=True))]
    )
    return decide(Songs(labels, predicted, 0), GENRES, **{"min_accuracy": 0.8, "min_recall": 0.5, **bounds})


@pytest.mark.parametrize(
    ("right", "songs", "outcome", "reason"),
    [
        ((45, 45), (50, 50), "blessed", ""),
        ((8, 7), (10, 10), "undecided", "accuracy is 0.750 on 20 songs"),
        ((25, 25), (50, 50), "refused", "accuracy is 0.500 on 100 songs"),
        ((190, 2), (200, 20), "refused", "recall of salsa is 0.100 on 20 songs"),
        ((190, 0), (200, 2), "refused", "accuracy against the most frequent genre"),
    ],
)
def test_a_condition_is_decided_by_its_interval(
    right: tuple[int, int], songs: tuple[int, int], outcome: str, reason: str
) -> None:
    found = decision(right, songs)
    assert (found.outcome, reason in found.reasons) == (outcome, True)
    assert bool(found.reasons) == (outcome != "blessed")


def test_the_number_of_songs_that_would_decide_does_decide() -> None:
    found = decision((8, 7), (10, 10)).criteria[0]
    assert found.more_songs is not None
    total = found.songs + found.more_songs
    for songs, decided in ((total, True), (total - 1, False)):
        interval = binomtest(round(0.75 * songs), songs).proportion_ci(method="wilson")
        exact = 0.75 * songs == round(0.75 * songs)
        assert (interval.high < 0.8) is decided or not exact
    assert f"about {found.more_songs} more with the same share would decide against it" in found.sentence
    assert "--min-accuracy" in found.sentence


def test_a_share_above_the_bound_would_be_decided_for_the_model() -> None:
    found = decision((6, 5), (10, 10), nearest=0.4).criteria[2]
    assert (found.outcome, found.share.value) == ("undecided", 0.55)
    assert f"about {found.more_songs} more with the same share would decide for it" in found.sentence


def test_more_of_the_same_songs_never_bless_what_fewer_refused() -> None:
    for share in np.linspace(0.3, 1, 15):
        outcomes = [decision((round(share * n), round(share * n)), (n, n)).outcome for n in (10, 100, 1_000)]
        assert "refused" not in outcomes[: outcomes.index("blessed")] if "blessed" in outcomes else True
        assert outcomes[-1] != "undecided" or abs(share - 0.8) < 0.04


def test_a_nearest_neighbour_must_be_surpassed_unless_it_is_good_enough_itself() -> None:
    assert decision((42, 43), (50, 50), nearest=0.6).outcome == "blessed"
    assert decision((42, 43), (50, 50), nearest=0.79).outcome == "undecided"
    assert decision((50, 50), (50, 50), nearest=1.0).outcome == "blessed"


@pytest.mark.parametrize(
    ("only_new", "only_served", "outcome"), [(0, 5, "blessed"), (0, 6, "refused"), (3, 6, "blessed")]
)
def test_a_model_that_is_significantly_worse_than_the_served_one_is_refused(
    only_new: int, only_served: int, outcome: str
) -> None:
    labels = np.zeros(100, int)
    new, served = labels.copy(), labels.copy()
    new[:only_served] = 1
    served[only_served : only_served + only_new] = 1
    comparison = compare(labels, new, served)
    assert (comparison.only_new, comparison.only_served) == (only_new, only_served)
    found = decision((50, 50), (50, 50), comparison=comparison)
    assert found.outcome == outcome
    assert ("worse than the served model" in found.reasons) == (outcome == "refused")


def test_the_lowest_plausible_share_is_where_the_interval_reaches_the_bound() -> None:
    for songs in (4, 10, 50, 1_000):
        share = lowest_plausible(0.8, songs)
        right = int(np.ceil(share * songs))
        assert binomtest(right, songs).proportion_ci(method="wilson").high >= 0.8 - 1e-9
        if right:
            assert binomtest(right - 1, songs).proportion_ci(method="wilson").high < 0.8
    assert lowest_plausible(0.5, 1) == lowest_plausible(0.5, 0) == 0

"""Metrics of songs, against values worked out by hand and scipy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import binomtest

from tumbao.components.evaluation.metrics import (
    PRODUCT,
    Comparison,
    SongMetrics,
    mcnemar,
    song_metrics,
    wilson_interval,
)

SURE = np.array([[0.98, 0.01, 0.01], [0.97, 0.02, 0.01]])
SPLIT = np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.4, 0.6, 0.0]])
"""The sum is for genre 0 (1.7 against 1.3), the votes are for genre 1."""


@pytest.fixture
def metrics() -> SongMetrics:
    """Ten sure validation songs; of six test songs, the sums are right on five, the votes on three."""
    val = [np.roll(SURE, label, axis=1) for label in range(3)] * 4
    test = [SURE, np.roll(SURE, 1, axis=1), SPLIT, SPLIT, np.roll(SPLIT, 1, axis=1), SPLIT]
    return song_metrics(val, np.arange(12) % 3, test, np.array([0, 1, 0, 0, 1, 1]))


def test_each_rule_has_its_accuracy(metrics: SongMetrics) -> None:
    right = {score.rule: score.right for score in metrics.rules}
    assert right == {PRODUCT: 5, "sum": 5, "votes": 3, "log-mean": 5}
    assert all(score.accuracy == wilson_interval(score.right, 6) for score in metrics.rules)
    assert metrics.product.rule == PRODUCT


def test_rules_are_compared_song_by_song(metrics: SongMetrics) -> None:
    paper = metrics.comparisons[0]
    assert (paper.first, paper.second, paper.only_first, paper.only_second) == ("sum", "votes", 3, 1)
    assert paper.p_value == pytest.approx(binomtest(3, 4).pvalue)
    assert paper.sentence.startswith("Songs on which only “sum” is correct: 3; only “votes”: 1 (p = 0.625).")


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((0, 0), "The difference is not significant."),
        ((9, 1), "The difference is significant, “sum” is better."),
        ((1, 9), "The difference is significant, “votes” is better."),
    ],
)
def test_the_outcome_is_described(counts: tuple[int, int], words: str) -> None:
    comparison = Comparison("sum", "votes", *counts, mcnemar(*counts))
    assert words in comparison.sentence


def test_uncertain_songs_get_no_genre(metrics: SongMetrics) -> None:
    assert 0.6 < metrics.calibration.threshold < 0.9
    assert metrics.calibration.songs == 12
    assert metrics.answered.songs == 2
    assert metrics.answered.coverage == wilson_interval(2, 6)
    assert metrics.answered.accuracy == wilson_interval(2, 2)
    assert [point.coverage for point in metrics.curve] == pytest.approx([2 / 6, 1])
    assert metrics.curve[0].accuracy == 1


def test_a_model_that_is_wrong_on_all_validation_songs_answers_none() -> None:
    metrics = song_metrics([SURE] * 8, np.ones(8, int), [SPLIT, SPLIT], np.array([0, 1]))
    assert (metrics.answered.songs, metrics.answered.accuracy, metrics.calibration.errors) == (0, None, 8)


def test_confidence_is_measured_without_and_with_the_temperature(metrics: SongMetrics) -> None:
    assert metrics.calibration.temperature > 1
    (before,), (after,) = metrics.before.bins, metrics.after.bins
    assert before.songs == after.songs == 6
    assert before.confidence > after.confidence
    assert metrics.before.calibration_error == pytest.approx(abs(before.confidence - before.accuracy))
    assert before.accuracy == pytest.approx(5 / 6)


def test_genres_are_measured_beside_their_sub_genres() -> None:
    """Songs of cumbia, salsa/dura and salsa/romantica, worked by hand."""
    leaves = ("cumbia", "salsa/dura", "salsa/romantica")
    val = [np.roll(SURE, label, axis=1) for label in range(3)] * 4
    torn = np.array([[0.36, 0.34, 0.3]])  # cumbia before each leaf of salsa, and behind salsa
    beside = np.array([[0.02, 0.95, 0.03]])
    test, labels = [SURE, beside, beside, torn, torn], np.array([0, 1, 2, 0, 2])
    metrics = song_metrics(val, np.arange(12) % 3, test, labels, leaves)
    assert metrics.product.right == 3  # the first two, and the torn one of cumbia
    assert metrics.main is not None
    assert (metrics.main.rule, metrics.main.right) == (PRODUCT, 4)  # of salsa all three, of cumbia the sure one
    assert metrics.main.accuracy == wilson_interval(4, 5)
    plain = song_metrics(val, np.arange(12) % 3, test, labels, ("a", "b", "c"))
    assert plain.main is None
    assert plain == dataclasses.replace(metrics, main=None)

"""Metrics of fragments equal scikit-learn's, and intervals resample whole songs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from tumbao.components.evaluation.metrics import interval_over_songs, scores, wilson_interval
from tumbao.components.evaluation.run_data import Evaluation


@pytest.fixture
def evaluation(rng: np.random.Generator) -> Evaluation:
    labels = np.repeat(np.arange(3), 12)
    logits = rng.normal(size=(36, 3)) + 1.2 * np.eye(3)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Evaluation(("salsa", "cumbia", "trova"), labels, probabilities, np.array([f"{i // 3}" for i in range(36)]))


def test_metrics_equal_scikit_learns(evaluation: Evaluation) -> None:
    ours = scores(evaluation)
    predicted = evaluation.probabilities.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(evaluation.labels, predicted)
    np.testing.assert_array_equal(ours.confusion, confusion_matrix(evaluation.labels, predicted))
    rows = [(one.precision, one.recall, one.f1, one.fragments) for one in ours.genres]
    np.testing.assert_allclose(rows, np.stack([precision, recall, f1, support], axis=1))
    assert ours.loss == pytest.approx(log_loss(evaluation.labels, evaluation.probabilities))
    assert ours.accuracy.value == pytest.approx(accuracy_score(evaluation.labels, predicted))


def test_genres_that_are_never_predicted_have_no_precision() -> None:
    one = Evaluation(("a", "b"), np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), np.array(["x", "y"]))
    _, never = scores(one).genres
    assert np.isnan(never.precision)
    assert (never.recall, never.f1) == (0.0, 0.0)


def test_wilson_interval_by_hand() -> None:
    # 8 of 10, z = 1.95996: centre (0.8 + 0.19207) / 1.38415 = 0.71674, half 1.41601 · √(0.0160 + 0.00960) = 0.22658
    interval = wilson_interval(8, 10)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-5)
    perfect = wilson_interval(5, 5)
    assert (perfect.low, perfect.high) == pytest.approx((5 / (5 + 1.959964**2), 1.0))


@pytest.mark.parametrize("fragments", [1, 6, 50])
def test_intervals_resample_whole_songs(fragments: int) -> None:
    # of 40 songs 32 are all correct and 8 all wrong: the correct ones among 40 resampled ones follow Binomial(40, 0.8)
    interval = interval_over_songs(
        np.repeat(np.arange(40) < 32, fragments), np.repeat(np.arange(40).astype(str), fragments)
    )
    assert interval.value == pytest.approx(0.8)
    assert (interval.low, interval.high) == pytest.approx(tuple(binom.ppf([0.025, 0.975], 40, 0.8) / 40), abs=0.0251)
    few = interval_over_songs(np.array([1] * 6 + [0] + [1] * 7 + [0], bool), np.repeat(["a", "b"], [7, 8]))
    wilson = wilson_interval(2 * 13 / 15, 2)  # whose songs are too few for a bootstrap
    assert (few.value, few.low, few.high) == (13 / 15, wilson.low, wilson.high)
    perfect = interval_over_songs(np.ones(3 * fragments, bool), np.repeat(list("abc"), fragments))
    assert perfect == wilson_interval(3, 3)

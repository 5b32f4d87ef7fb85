"""The one check for every artefact, on arrays made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tumbao.components.evaluation.parity import agreement


def rows(*genres: int) -> np.ndarray:
    """Probabilities that name these genres (of three) first."""
    return 0.2 + 0.4 * np.eye(3)[list(genres)]


def test_the_same_answers_agree_whatever_they_are_worth() -> None:
    result = agreement(rows(0, 1, 2), rows(0, 1, 2), np.array([1, 1, 1]))
    assert (result.top1, result.max_difference) == (1, 0)
    assert result.reference_accuracy == result.accuracy == pytest.approx(1 / 3)
    assert result.failures == []


def test_the_largest_difference_of_a_probability_is_told() -> None:
    candidate = rows(0, 1) + np.array([[0.05, -0.05, 0], [-0.1, 0.03, 0.07]])
    assert agreement(rows(0, 1), candidate, np.array([0, 1])).max_difference == pytest.approx(0.1)


def test_too_few_fragments_with_the_same_genre_fail() -> None:
    labels = np.zeros(100, int)
    reference = rows(*[1] * 100)
    passes = agreement(reference, rows(*[1] * 98, 2, 2), labels)
    fails = agreement(reference, rows(*[1] * 97, 2, 2, 2), labels)
    assert passes.failures == []
    assert fails.failures == ["predicts the float model's genre for 97.0% of the fragments, expected 98%"]


def test_an_accuracy_more_than_a_point_lower_fails() -> None:
    labels = np.zeros(100, int)
    reference = rows(*[0] * 90, *[1] * 10)
    passes = agreement(reference, rows(*[0] * 89, *[1] * 11), labels)
    fails = agreement(reference, rows(*[0] * 88, *[1] * 12), labels)
    assert passes.failures == []
    assert fails.failures == [
        "has an accuracy of 88.0%, expected at least 89.0% (the float model's 90.0% less 1 point)"
    ]


def test_a_better_accuracy_does_not_make_up_for_other_answers() -> None:
    labels = np.zeros(10, int)
    assert agreement(rows(*[1] * 10), rows(*[0] * 10), labels).failures == [
        "predicts the float model's genre for 0.0% of the fragments, expected 98%"
    ]


@pytest.mark.parametrize(
    ("reference", "candidate", "labels"),
    [
        (rows(0, 1), rows(0), np.array([0, 1])),
        (rows(0, 1), rows(0, 1)[:, :2], np.array([0, 1])),
        (rows(0, 1), rows(0, 1), np.array([0])),
        (rows(), rows(), np.array([], int)),
    ],
    ids=["fragments", "genres", "labels", "nothing"],
)
def test_what_cannot_be_compared_is_refused(reference: np.ndarray, candidate: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"at least one, with a label each\. Received shapes: reference=\("):
        agreement(reference, candidate, labels)

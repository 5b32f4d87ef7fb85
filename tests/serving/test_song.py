from __future__ import annotations

import numpy as np
import pytest

from tumbao.serving.song import combine


def test_one_fragment_is_the_song() -> None:
    answer = combine(np.array([[0.2, 0.5, 0.3]]))
    assert (answer.genre, answer.majority, answer.votes) == (1, 1, (0, 1, 0))
    assert answer.probabilities == pytest.approx((0.2, 0.5, 0.3))


def test_the_sum_decides_and_the_votes_stand_beside_it() -> None:
    answer = combine(np.array([[0.55, 0.45, 0.0], [0.55, 0.45, 0.0], [0.0, 1.0, 0.0]]))
    assert answer.genre == 1
    assert answer.majority == 0
    assert answer.votes == (2, 1, 0)
    assert answer.probabilities == pytest.approx((1.1 / 3, 1.9 / 3, 0))


def test_a_tie_of_votes_goes_to_the_larger_sum() -> None:
    answer = combine(np.array([[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]]))
    assert answer.votes == (1, 1, 0)
    assert answer.majority == answer.genre == 1


def test_the_larger_sum_without_the_most_votes_does_not_win_the_majority() -> None:
    answer = combine(np.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.0, 0.0, 1.0], [0.4, 0.3, 0.3], [0.3, 0.4, 0.3]]))
    assert answer.votes == (2, 2, 1)
    assert answer.genre == 2
    assert answer.majority == 0


def test_what_is_equal_goes_to_the_first_genre() -> None:
    answer = combine(np.array([[0.5, 0.5], [0.5, 0.5]]))
    assert (answer.genre, answer.majority, answer.votes) == (0, 0, (2, 0))


def test_invariants(rng: np.random.Generator) -> None:
    probabilities = rng.dirichlet(np.ones(5), 9).astype(np.float32)
    answer = combine(probabilities)
    assert sum(answer.votes) == 9
    assert sum(answer.probabilities) == pytest.approx(1)
    assert answer.probabilities == pytest.approx(probabilities.mean(axis=0), abs=1e-6)
    assert combine(probabilities[::-1]).votes == answer.votes
    order = [3, 1, 0, 4, 2]
    assert order[combine(probabilities[:, order]).genre] == answer.genre


def test_rounding_of_a_quantized_model_is_normalised() -> None:
    answer = combine(np.array([[0.73046875, 0.25390625, 0.0]]))
    assert sum(answer.probabilities) == pytest.approx(1)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.5, 0.5], "shape"),
        (np.zeros((0, 5)), "shape"),
        ([[1.0]], "shape"),
        ([[1.2, -0.2]], "logits"),
        ([[np.nan, 1.0]], "Expected probabilities in"),
        ([[0.9, 0.9]], "sum is 1"),
        ([[0.0, 0.0]], "sum is 1"),
    ],
)
def test_refusals(probabilities: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        combine(np.asarray(probabilities))

from __future__ import annotations

import numpy as np
import pytest

from tumbao.serving.song import RULES, SMALLEST_PROBABILITY, by_log_mean, by_sum, by_votes, combine


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


def test_each_rule_may_name_another_genre() -> None:
    # votes 2, 1, 0; sums 1.0, 1.1, 0.9; products 0.25 / 512 (for the zero), 0.016, 0.024
    song = np.array([[0.5, 0.1, 0.4], [0.0, 0.8, 0.2], [0.5, 0.2, 0.3]])
    assert {name: rule(song) for name, rule in RULES.items()} == {"votes": 0, "sum": 1, "log-mean": 2}


def test_a_tie_of_three_votes_goes_to_the_larger_sum_of_those_that_tie() -> None:
    # two votes each for 0, 1 and 2; sums 1.7, 1.8, 2.0, 0.5
    song = np.array(
        [
            [0.4, 0.2, 0.2, 0.2],
            [0.7, 0.1, 0.1, 0.1],
            [0.2, 0.6, 0.1, 0.1],
            [0.2, 0.6, 0.1, 0.1],
            [0.1, 0.2, 0.7, 0.0],
            [0.1, 0.1, 0.8, 0.0],
        ]
    )
    assert combine(song).votes == (2, 2, 2, 0)
    assert by_votes(song) == by_sum(song) == 2


def test_votes_and_sums_that_tie_go_to_the_first_genre_by_every_rule() -> None:
    song = np.array([[0.1, 0.2, 0.7], [0.1, 0.7, 0.2]])
    assert {rule(song) for rule in RULES.values()} == {1}


def test_one_fragment_alone_rules_no_genre_out() -> None:
    sure, against = [0.9, 0.1], [0.0, 1.0]
    assert by_log_mean(np.array([sure, sure, against])) == 1  # 0.81 / 512 < 0.01
    assert by_log_mean(np.array([sure, sure, sure, against])) == 0  # 0.729 / 512 > 0.001
    assert pytest.approx(1 / 512) == SMALLEST_PROBABILITY


def test_an_answer_is_confident_from_the_threshold_on() -> None:
    song = np.array([[0.75, 0.25], [0.5, 0.5]])  # the song's probability is 0.625
    assert combine(song).confident
    assert combine(song, threshold=0.625).confident
    doubtful = combine(song, threshold=0.626)
    assert (doubtful.confident, doubtful.genre) == (False, 0)


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

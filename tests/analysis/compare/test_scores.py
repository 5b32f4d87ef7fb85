"""Scores equal scikit-learn's or are computed by hand, and intervals contain the true value."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss

from tests.analysis.compare.simulated_trials import simulate, trial
from tumbao.analysis.compare.scores import (
    Board,
    Cost,
    Findings,
    Score,
    figures,
    find,
    holm,
    p_value,
    score,
    song_counts,
)
from tumbao.analysis.compare.trial import Pool, Trial, pools
from tumbao.components.evaluation.metrics import RESAMPLES, mcnemar, song_weights, wilson_interval
from tumbao.serving import calibration
from tumbao.serving.song import by_sum, by_votes

YES, NO = (0.75, 0.25), (0.25, 0.75)


def pool_of(*trials: Trial) -> Pool:
    return next(iter(next(iter(pools(trials).values())).values()))


def scored(*trials: Trial) -> Score:
    pool = pool_of(*trials)
    return score(pool, song_counts(pool), song_weights(np.zeros(len(pool.songs), int)))


def answers(rows: list[tuple[float, float]], songs: str, labels: list[int], **values: object) -> Trial:
    """Make a trial of the genres bachata and salsa, a row and a letter for each fragment."""
    given = {"probabilities": np.array(rows, np.float32), "songs": tuple(songs), "labels": np.array(labels)}
    return trial(**given | values)


def board_of(*trials: Trial) -> Board:
    return find(trials, "vgg16").boards[0]


@pytest.fixture(scope="module")
def findings() -> Findings:
    return find(list(simulate(models=("vgg16", "musicnn", "cnn"), folds=2, songs=30)), "vgg16")


def test_figures_are_those_of_scikit_learn_with_folds_joined_and_seeds_averaged() -> None:
    trials = list(simulate(models=("crnn",), protocols=("song",), seeds=(5, 6), folds=3, songs=15))
    ours = scored(*trials)
    expected: dict[str, list[float]] = {"accuracy": [], "balanced_accuracy": [], "cross_entropy": []}
    f1 = []
    for seed in (5, 6):
        own = [one for one in trials if one.seed == seed]
        truth, probabilities = (np.concatenate([getattr(one, of) for one in own]) for of in ("labels", "probabilities"))
        predicted = probabilities.argmax(axis=1)
        expected["accuracy"].append(accuracy_score(truth, predicted))
        expected["balanced_accuracy"].append(balanced_accuracy_score(truth, predicted))
        probabilities = probabilities / probabilities.sum(axis=1, keepdims=True, dtype=np.float64)
        expected["cross_entropy"].append(log_loss(truth, probabilities))
        f1.append(f1_score(truth, predicted, average=None))
    for name, seeds in expected.items():
        estimate = getattr(ours, name)
        np.testing.assert_allclose(estimate.seeds, seeds, rtol=1e-6)
        assert estimate.value == pytest.approx(np.mean(seeds))
        assert estimate.deviation == pytest.approx(np.std(seeds, ddof=1))
        assert estimate.low <= estimate.value <= estimate.high
    np.testing.assert_allclose([one.value for one in ours.f1], np.mean(f1, axis=0))
    assert (ours.songs, ours.fragments, ours.folds) == (15, 90, 3)


def test_song_accuracies_follow_the_papers_rules() -> None:
    pool = pool_of(*simulate(models=("lstm",), protocols=("song",), seeds=(0,), folds=2, songs=30, fragments=3))
    ours = score(pool, song_counts(pool), song_weights(np.zeros(30, int)))
    songs = pool.probabilities[0].reshape(30, 3, -1)
    for rule, estimate in ((by_sum, ours.song_accuracy_sum), (by_votes, ours.song_accuracy_votes)):
        assert estimate.value == np.mean([rule(song) == label for song, label in zip(songs, pool.labels, strict=True)])
    assert ours.song_accuracy_sum.value != ours.song_accuracy_votes.value


def test_scores_of_fragments_equal_those_of_songs_of_one_fragment() -> None:
    pool = pool_of(*simulate(models=("vgg16",), protocols=("song",), seeds=(0,), folds=2, songs=60, fragments=1))
    ours = score(pool, song_counts(pool), song_weights(np.zeros(60, int)))
    assert ours.accuracy == ours.song_accuracy_sum == ours.song_accuracy_votes
    bins = calibration.reliability(pool.probabilities[0], pool.labels)
    assert ours.calibration_error.value == pytest.approx(calibration.expected_error(bins))
    assert ours.cross_entropy.value == pytest.approx(calibration.log_loss(pool.probabilities[0], pool.labels), rel=0.01)


def test_intervals_of_perfect_scores_are_wilsons() -> None:
    perfect = scored(answers([YES, YES, NO, NO], "aabc", [0, 0, 1, 1]))
    doubt = wilson_interval(3, 3)
    for estimate in (perfect.accuracy, perfect.balanced_accuracy, perfect.song_accuracy_sum):
        assert (estimate.value, estimate.low, estimate.high) == (1.0, doubt.low, doubt.high)
    assert perfect.f1[0].low == pytest.approx(wilson_interval(1, 1).low)
    assert np.isnan(perfect.accuracy.deviation)


def test_a_genre_without_fragments_has_no_f1() -> None:
    only = scored(answers([YES, NO], "ab", [0, 0]))
    assert only.balanced_accuracy.value == 0.5
    first, second = only.f1
    assert first.value == pytest.approx(2 / 3)
    assert np.isnan([second.value, second.low, second.high]).all()


def test_a_song_with_weight_2_counts_as_two_songs() -> None:
    resampled = song_counts(pool_of(answers([YES, NO, NO, NO, YES], "aabcc", [0, 0, 0, 1, 1])))
    copied = song_counts(pool_of(answers([NO, NO, YES, NO, YES], "bccCC", [0, 1, 1, 1, 1])))
    found, expected = figures(resampled, np.array([[0.0, 1.0, 2.0]])), figures(copied, np.ones((1, 3)))
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name])
    assert found["accuracy"].item() == pytest.approx(2 / 5)


def test_the_difference_is_paired() -> None:
    # both err on the same hard songs; the second also errs on seven others
    songs = "abcdefghijklmnopqrstuvwxyz"
    hard = [NO] * 10
    ours = answers(hard + [YES] * 16, songs, [0] * 26)
    theirs = answers(hard + [NO] * 7 + [YES] * 9, songs, [0] * 26, model="cnn")
    board = board_of(ours, theirs)
    difference = board.differences["cnn"]
    assert [one.model for one in board.scores] == ["vgg16", "cnn"]
    assert difference.value == pytest.approx(-7 / 26)
    ends = binom.ppf([0.975, 0.025], 26, 7 / 26) / -26  # of the seven; the ten do not count
    assert (difference.low, difference.high) == pytest.approx(tuple(ends), abs=0.04)
    assert (difference.only_model, difference.only_reference) == (0, 7)
    assert difference.song_p_value == mcnemar(0, 7)
    assert difference.p_value == 2**-6  # seven songs that all differ one way allow for no less
    assert difference.verdict == "worse"


def test_equal_models_do_not_differ() -> None:
    same = [answers([YES, NO, NO], "abc", [0, 0, 1], model=model) for model in ("vgg16", "fcn")]
    difference = board_of(*same).differences["fcn"]
    assert (difference.value, difference.p_value, difference.song_p_value) == (0, 1, 1)
    assert difference.low < 0 < difference.high
    assert difference.verdict == "no clear difference"


def test_a_song_is_right_with_more_than_half_of_the_seeds() -> None:
    seeds = [answers([YES, row], "ab", [0, 0], seed=seed) for seed, row in enumerate((YES, YES, NO))]
    others = [answers([YES, row], "ab", [0, 0], seed=seed, model="fcn") for seed, row in enumerate((YES, NO))]
    difference = board_of(*seeds, *others).differences["fcn"]
    assert (difference.only_model, difference.only_reference) == (0, 1)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, 0.03, 0.5])), [0.09, 0.04, 0.09, 0.5])
    np.testing.assert_allclose(holm(np.array([0.7, 0.6])), [1.0, 1.0])
    assert holm(np.array([])).shape == (0,)


def test_p_values_are_corrected_for_all_models(findings: Findings) -> None:
    for board in findings.boards:
        raw = [one.p_value for one in board.differences.values()]
        np.testing.assert_allclose([one.corrected for one in board.differences.values()], holm(np.array(raw)))
        assert len(raw) == 2


def test_the_p_value_counts_opposite_replicates() -> None:
    replicates = np.concatenate([np.full(99, -1.0), np.full(1900, 1.0)])
    assert p_value(replicates, differing=30) == pytest.approx(2 * 100 / 2000)
    assert p_value(-replicates, differing=30) == p_value(replicates, differing=30)
    zeros = np.concatenate([np.zeros(100), np.ones(1899)])
    assert p_value(zeros, differing=30) == pytest.approx(2 * 101 / 2000)
    assert p_value(np.ones(RESAMPLES), differing=3) == 0.25
    assert p_value(np.zeros(RESAMPLES), differing=0) == 1.0


def test_the_leak_is_the_difference_between_both_splits(findings: Findings) -> None:
    boards = {board.protocol: {one.model: one for one in board.scores} for board in findings.boards}
    assert list(boards) == ["song", "fragment"]
    assert [one.model for one in findings.leaks] == [one.model for one in findings.boards[0].scores]
    for one in findings.leaks:
        apart, fragment = (boards[protocol][one.model].accuracy for protocol in ("song", "fragment"))
        assert (one.apart, one.fragment) == (apart, fragment)
        assert one.value == pytest.approx(apart.value - fragment.value)
        assert one.low <= one.value <= one.high < 0


def test_without_a_split_by_song_the_one_by_artist_ranks() -> None:
    found = find(list(simulate(models=("vgg16", "cnn"), protocols=("fragment", "artist"), seeds=(0,))), "vgg16")
    assert [board.protocol for board in found.boards] == ["artist", "fragment"]
    assert [leak.protocol for leak in found.leaks] == ["artist", "artist"]
    assert [board.leaky for board in found.boards] == [False, True]


def test_resamples_keep_the_size_of_groups() -> None:
    weights = song_weights(np.array([0, 0, 0, 1, 2, 2]))
    assert (weights[:, :3].sum(axis=1) == 3).all()
    assert (weights[:, 3] == 1).all()
    assert weights[:, 4].mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "other",
    [
        trial(seed=1, songs=("a", "c")),
        trial(model="fcn", songs=("a", "c")),
        trial(model="fcn", labels=np.array([1, 0])),
        trial(model="fcn", songs=("a",), labels=np.array([0]), probabilities=np.array([YES], np.float32)),
    ],
)
def test_trials_of_other_songs_are_refused(other: Trial) -> None:
    with pytest.raises(ValueError, match="same test songs"):
        find([trial(), other], "vgg16")


def test_times_and_validation_accuracies_are_averaged() -> None:
    both = scored(trial(train_seconds=2.0), trial(seed=1, train_seconds=4.0))
    assert both.cost == Cost(15_000_000, 300_000, 18.25, 15_000_000, "", 3.0)


@pytest.mark.parametrize(("right", "few"), [(2, True), (3, False), (17, False), (18, True)])
def test_intervals_of_few_right_or_few_wrong_songs_contain_wilsons(right: int, few: bool) -> None:
    one = scored(answers([YES] * right + [NO] * (20 - right), "abcdefghijklmnopqrst", [0] * 20)).accuracy
    wilson = wilson_interval(right, 20)
    assert (one.low <= wilson.low and one.high >= wilson.high) == few
    low, high = binom.ppf([0.025, 0.975], 20, right / 20) / 20
    assert one.low <= low < high <= one.high


@pytest.mark.parametrize("rows", [[YES] * 28 + [NO] * 20, [YES, YES, YES, NO] * 12])
def test_the_interval_of_the_calibration_error_is_symmetrical_up_to_0(rows: list[tuple[float, float]]) -> None:
    names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUV"
    pool = pool_of(answers(rows, names, [0] * 48))
    counts, weights = song_counts(pool), song_weights(np.zeros(48, int))
    error = score(pool, counts, weights).calibration_error
    upper = np.quantile(figures(counts, weights)["calibration_error"], 0.975)
    assert error.high == pytest.approx(upper)
    assert error.low == pytest.approx(max(0.0, 2 * error.value - upper))

from __future__ import annotations

import numpy as np
import pytest

from tumbao.serving.calibration import (
    TEMPERATURES,
    Bin,
    calibrate,
    coverage_curve,
    expected_error,
    log_loss,
    reliability,
    song_probabilities,
    temper,
)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def songs_of(rng: np.random.Generator, count: int, overconfidence: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Sample songs from calibrated probabilities; return them with overconfident ones."""
    logits = 1.5 * rng.normal(size=(count, 1, 4))
    labels = np.array([rng.choice(4, p=softmax(song[0])) for song in logits])
    return list(softmax(overconfidence * logits)), labels


def certain(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Make songs that are all classified correctly with probability 1."""
    labels = np.arange(count) % 5
    return [np.eye(5)[[label, label]] for label in labels], labels


def test_temperature_scales_the_logits(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(6, 5))
    np.testing.assert_allclose(temper(softmax(logits), 1.7), softmax(logits / 1.7))
    np.testing.assert_allclose(temper(softmax(logits), 1.0), softmax(logits))


@pytest.mark.parametrize("overconfidence", [0.5, 1.0, 2.0])
def test_the_temperature_of_many_songs_corrects_overconfidence(rng: np.random.Generator, overconfidence: float) -> None:
    songs, labels = songs_of(rng, 3_000, overconfidence)
    assert calibrate(songs, labels).temperature == pytest.approx(overconfidence, rel=0.1)


@pytest.mark.parametrize("count", [3, 10, 100, 300])
def test_confidence_is_limited_by_the_number_of_songs(count: int) -> None:
    songs, labels = certain(count)
    found = calibrate(songs, labels)
    confidence = song_probabilities(songs, found.temperature).max(axis=1)
    assert confidence == pytest.approx((count + 1) / (count + 2), abs=0.006)
    assert 0.5 < found.threshold < confidence.min()
    assert (found.songs, found.errors, found.rough) == (count, 0, count < 50)


def test_a_confident_and_wrong_model_is_never_confident_after_calibration() -> None:
    songs, labels = certain(10)
    found = calibrate(songs, (labels + 1) % 5)
    assert found.temperature == pytest.approx(TEMPERATURES[-1], abs=1e-4)
    assert (found.threshold, found.errors) == (0.5, 10)
    assert song_probabilities(songs, found.temperature).max() < found.threshold


def test_thresholds_computed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # without tempering; right at 0.9, 0.8 and 0.6, wrong at 0.7: costs are 1 in (0.5, 0.6), 1.5 in (0.6, 0.7),
    # 1 in (0.7, 0.8) and 1.5 in (0.8, 0.9): two gaps tie, the higher one's middle is taken
    monkeypatch.setattr("tumbao.serving.calibration.TEMPERATURES", np.array([1.0]))
    songs = [np.array([[p, 1 - p]]) for p in (0.9, 0.8, 0.6, 0.7)]
    assert calibrate(songs, np.array([0, 0, 0, 1])).threshold == 0.75
    # one more wrong song at 0.55: 2, 1.5 in (0.55, 0.6), 2, 1.5 in (0.7, 0.8), 2
    songs.append(np.array([[0.55, 0.45]]))
    assert calibrate(songs, np.array([0, 0, 0, 1, 1])).threshold == 0.75
    # right at 0.6, and nothing wrong: the gap from 0.5, the optimum of a calibrated model
    assert calibrate(songs[:3], np.array([0, 0, 0])).threshold == 0.55
    # right and wrong at equal confidences, except for rounding: no threshold between them
    songs = [np.array([[p, 1 - p]]) for p in (0.8, 0.80001, 0.9)]
    assert calibrate(songs, np.array([1, 0, 0])).threshold == 0.85


def test_log_loss_computed_by_hand() -> None:
    assert str(log_loss(np.eye(2), np.array([0, 1]))) == "0.0"
    assert log_loss(np.array([[0.5, 0.5], [0.75, 0.25]]), np.array([1, 1])) == pytest.approx(np.log(8) / 2)


def test_calibration_error_computed_by_hand() -> None:
    # two bins: confidences 0.5 to 0.6 (mean 0.55), 2 of 5 right; 0.8 to 0.9 (mean 0.85), all right
    confidence = np.array([0.55, 0.55, 0.5, 0.6, 0.55, 0.8, 0.9, 0.85, 0.85, 0.85])
    labels = np.array([0, 1, 1, 1, 0, 0, 0, 0, 0, 0])
    low, high = reliability(np.stack([confidence, 1 - confidence], axis=1), labels)
    assert (low.songs, low.confidence, low.accuracy) == pytest.approx((5, 0.55, 0.4))
    assert (high.songs, high.confidence, high.accuracy) == pytest.approx((5, 0.85, 1.0))
    assert expected_error([low, high]) == pytest.approx((0.15 + 0.15) / 2)
    assert expected_error([Bin(4, 0.9, 0.9), Bin(1, 0.9, 0.4)]) == pytest.approx(0.1)


def test_coverage_curve_computed_by_hand() -> None:
    confidence = np.array([0.7, 0.9, 0.7, 0.6])
    labels = np.array([1, 0, 0, 0])
    curve = coverage_curve(np.stack([confidence, 1 - confidence], axis=1), labels)
    assert [(point.threshold, point.coverage) for point in curve] == [(0.9, 0.25), (0.7, 0.75), (0.6, 1.0)]
    assert [point.accuracy for point in curve] == pytest.approx([1, 2 / 3, 3 / 4])


def test_songs_of_different_lengths_have_the_mean_of_their_fragments() -> None:
    songs = [np.array([[0.9, 0.1]]), np.array([[0.6, 0.4], [0.2, 0.8], [0.4, 0.6]])]
    np.testing.assert_allclose(song_probabilities(songs, None), [[0.9, 0.1], [0.4, 0.6]])

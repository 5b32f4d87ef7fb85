from __future__ import annotations

import keras
import librosa
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal

from tumbao.components.ingest.mel import mel_image, mel_levels
from tumbao.schema.mel_spec import FINE
from tumbao.trainer.descriptors import descriptor_names, descriptors
from tumbao.trainer.rhythm import beat_names, rhythm, rhythm_names

NAMES = rhythm_names()
BEATS = len(beat_names())
CENTRES = librosa.mel_frequencies(FINE.mel_bands + 2, fmin=FINE.mel_min_hz, fmax=FINE.mel_max_hz)[1:-1]
BANDS_HZ = (0, 120, 250, 500, 1_000, 2_000, 4_000, 8_000)
STEPS = {"low": (0, 6, 8, 14), "middle": (0, 3, 6, 10, 12), "high": tuple(range(0, 16, 2))}
OTHER_STEPS = {"low": (0, 4, 8, 12), "middle": (2, 6, 10, 14), "high": (0, 3, 4, 7, 8, 11, 12, 15)}


def bars(bpm: float, steps: dict[str, tuple[int, ...]] = STEPS, seed: int = 1) -> np.ndarray:
    """Make bars of sixteen steps for three kinds of drums, each with its own noise."""
    rng = np.random.default_rng(seed)
    sound = 1e-3 * rng.standard_normal(FINE.fragment_samples + FINE.sample_rate_hz)
    for name, (low, high) in {"low": (40, 110), "middle": (300, 900), "high": (3_000, 7_000)}.items():
        band = scipy.signal.butter(2, (low, high), "bandpass", fs=FINE.sample_rate_hz, output="sos")
        noise = scipy.signal.sosfilt(band, rng.standard_normal(3_200)) * np.exp(-np.arange(3_200) / 500)
        hit = 0.3 * noise / np.abs(noise).max()
        for bar in range(int(30 * bpm / 240) + 1):
            for step in steps[name]:
                start = round((bar + step / 16) * 240 / bpm * FINE.sample_rate_hz)
                if start < FINE.fragment_samples:
                    sound[start : start + len(hit)] += hit
    return sound[: FINE.fragment_samples].astype(np.float32)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return rhythm()


def patterns(model: keras.Model, *sounds: np.ndarray) -> np.ndarray:
    return model(mel_image(np.stack(sounds), FINE)).numpy()[:, BEATS:]


def alike(first: np.ndarray, second: np.ndarray) -> float:
    """Mean cosine of the bands of two patterns."""
    return float((first * second).reshape(7, -1).sum(axis=1).mean())


def test_beat_columns_are_those_of_the_descriptors(model: keras.Model) -> None:
    image = mel_image(bars(100)[np.newaxis], FINE)
    described = descriptors()(image).numpy()[0, descriptor_names().index(NAMES[0]) :]
    np.testing.assert_allclose(model(image).numpy()[0, :BEATS], described, atol=1e-5)


def test_patterns_are_those_of_librosas_onsets_and_autocorrelation(model: keras.Model) -> None:
    sound = bars(100)
    decibels = mel_levels(sound[np.newaxis], FINE).numpy()[0, ::-1] * (80 / 255) - 80
    channels = [*np.searchsorted(CENTRES, BANDS_HZ[:-1]), FINE.mel_bands]
    onsets = librosa.onset.onset_strength_multi(S=decibels, center=False, channels=channels)
    rate = FINE.sample_rate_hz / FINE.hop_samples

    def running_mean(values: np.ndarray, seconds: float) -> np.ndarray:
        kernel = np.ones(2 * round(seconds * rate / 2) + 1)
        sums, counts = (
            scipy.ndimage.convolve1d(one, kernel, mode="constant") for one in (values, np.ones(len(values)))
        )
        return sums / counts

    lags = rate * 2.0 ** (-4 + np.arange(144) / 24)
    expected = []
    for onset in onsets:
        centred = onset - running_mean(onset, 1.0)
        white = centred / np.maximum(np.sqrt(running_mean(centred**2, 4.0)), 1e-3)
        correlation = librosa.autocorrelate(white - white.mean())
        sampled = []
        for lag in lags:
            weights = np.maximum(0, 1 - np.abs(np.arange(len(correlation)) - lag) / max(2, 0.02 * lag))
            sampled.append(np.average(correlation, weights=weights) / correlation[0])
        scales = np.abs(np.fft.rfft(sampled))[1:40]
        expected.append(scales / np.linalg.norm(scales))
    np.testing.assert_allclose(patterns(model, sound)[0], np.concatenate(expected), atol=2e-3)


def test_patterns_tell_rhythms_apart_in_any_tempo(model: keras.Model) -> None:
    same, faster, other = patterns(model, bars(100), bars(112, seed=2), bars(100, OTHER_STEPS, seed=3))
    assert 1 - alike(same, other) > 3 * (1 - alike(same, faster))

from __future__ import annotations

import keras
import librosa
import numpy as np
import pytest

from tumbao.components.ingest.mel import mel_image, mel_levels
from tumbao.schema.mel_spec import FINE
from tumbao.trainer.descriptors import SEGMENTS, descriptor_names, descriptors

CENTRES = librosa.mel_frequencies(FINE.mel_bands + 2, fmin=FINE.mel_min_hz, fmax=FINE.mel_max_hz)[1:-1]
NAMES = descriptor_names()
RATE = FINE.sample_rate_hz / FINE.hop_samples


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return descriptors()


def clicks(bpm: float, accented: int = 1) -> np.ndarray:
    """Make a click of decaying noise for each beat; unaccented ones are fainter."""
    rng = np.random.default_rng(3)
    sound = 1e-3 * rng.standard_normal(FINE.fragment_samples + FINE.sample_rate_hz)
    click = rng.standard_normal(1_600) * np.exp(-np.arange(1_600) / 250)
    for beat in range(int(30 * bpm / 60)):
        start = round(beat * 60 / bpm * FINE.sample_rate_hz)
        sound[start : start + len(click)] += click * (0.25 if beat % accented == 0 else 0.05)
    return sound[: FINE.fragment_samples].astype(np.float32)


@pytest.fixture(scope="module")
def song() -> np.ndarray:
    """Make a varied sound: chords over clicks, in noise of changing level."""
    time = np.arange(FINE.fragment_samples) / FINE.sample_rate_hz
    tones = sum(np.sin(2 * np.pi * hz * time) * (np.sin(time * hz / 90) > 0) for hz in (82, 220, 523, 1_244, 3_100))
    noise = np.random.default_rng(4).standard_normal(len(time)) * np.sin(time / 7) ** 2
    return (0.1 * tones + 0.05 * noise + clicks(104, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def decibels(song: np.ndarray) -> np.ndarray:
    """Return the mel frames of the song's image, [bands, frames]."""
    return mel_levels(song[np.newaxis], FINE).numpy()[0, ::-1] * (80 / 255) - 80


@pytest.fixture(scope="module")
def described(model: keras.Model, song: np.ndarray) -> dict[str, float]:
    return dict(zip(NAMES, model(mel_image(song[np.newaxis], FINE)).numpy()[0].tolist(), strict=True))


def segments(rows: np.ndarray) -> np.ndarray:
    """Cut [columns, frames] into [segments, columns, frames]."""
    length = rows.shape[1] // SEGMENTS
    return np.stack([rows[:, index * length : (index + 1) * length] for index in range(SEGMENTS)])


def assert_aggregates(described: dict[str, float], name: str, frames: np.ndarray, tolerance: float) -> None:
    cut = segments(frames[np.newaxis])
    assert described[f"{name}_mean"] == pytest.approx(cut.mean(), abs=tolerance)
    assert described[f"{name}_deviation"] == pytest.approx(cut.std(axis=2).mean(), abs=tolerance)


def test_mfcc_and_their_deltas_are_librosas(described: dict[str, float], decibels: np.ndarray) -> None:
    cepstrum = librosa.feature.mfcc(S=decibels, n_mfcc=20)
    deltas = np.stack([librosa.feature.delta(segment)[:, 4:-4] for segment in segments(cepstrum)])
    for index in range(20):
        assert_aggregates(described, f"mfcc_{index}_db", cepstrum[index], 2e-3)
        expected = deltas[:, index].std(axis=1).mean()
        assert described[f"mfcc_{index}_db_delta_deviation"] == pytest.approx(expected, abs=1e-3)


def test_spectral_features_are_librosas(described: dict[str, float], decibels: np.ndarray) -> None:
    magnitudes = librosa.db_to_amplitude(decibels)
    centroid = librosa.feature.spectral_centroid(S=magnitudes, freq=CENTRES)[0] / 1e3
    bandwidth = librosa.feature.spectral_bandwidth(S=magnitudes, freq=CENTRES)[0] / 1e3
    rolloff = librosa.feature.spectral_rolloff(S=magnitudes, freq=CENTRES, roll_percent=0.85)[0] / 1e3
    flatness = librosa.power_to_db(librosa.feature.spectral_flatness(S=magnitudes)[0], top_db=None)
    assert_aggregates(described, "centroid_khz", centroid, 1e-4)
    assert_aggregates(described, "bandwidth_khz", bandwidth, 1e-4)
    assert_aggregates(described, "rolloff_khz", rolloff, 1e-3)
    assert_aggregates(described, "flatness_db", flatness, 1e-3)


def test_contrast_is_librosas(described: dict[str, float], decibels: np.ndarray) -> None:
    power = librosa.db_to_power(decibels)
    contrast = librosa.feature.spectral_contrast(
        S=power, sr=FINE.sample_rate_hz, freq=CENTRES, n_bands=6, fmin=200.0, quantile=0.02
    )
    for start, expected in zip((0, 200, 400, 800, 1_600, 3_200, 6_400), contrast, strict=True):
        assert_aggregates(described, f"contrast_from_{start}_hz_db", expected, 2e-2)


def test_onset_strength_is_librosas(described: dict[str, float], decibels: np.ndarray) -> None:
    channels = [0, *np.searchsorted(CENTRES, (200, 1_600)), FINE.mel_bands]
    parts = librosa.onset.onset_strength_multi(S=decibels, center=False, channels=channels)
    assert_aggregates(described, "all_onset_db", librosa.onset.onset_strength(S=decibels, center=False), 1e-3)
    for name, expected in zip(("bass", "voices", "percussion"), parts, strict=True):
        assert_aggregates(described, f"{name}_onset_db", expected, 1e-3)


def around(correlation: np.ndarray, lag: float) -> float:
    """Average an autocorrelation over 2 frames or 2 % around a lag, in frames."""
    weights = 1 - np.abs(np.arange(len(correlation)) - lag) / max(2, 0.02 * lag)
    return float(np.average(correlation, weights=np.maximum(weights, 0)) / correlation[0])


def test_rhythm_is_librosas_autocorrelation(described: dict[str, float], decibels: np.ndarray) -> None:
    channels = [0, *np.searchsorted(CENTRES, (200, 1_600)), FINE.mel_bands]
    parts = librosa.onset.onset_strength_multi(S=decibels, center=False, channels=channels)
    strengths = [librosa.onset.onset_strength(S=decibels, center=False), *parts]
    beat = 2.0 ** -described["tempo_octaves_over_60_bpm"] * RATE
    for name, strength in zip(("all", "bass", "voices", "percussion"), strengths, strict=True):
        correlation = librosa.autocorrelate(strength - strength.mean())
        for beats, steps in {"1/4": -96, "1/3": -76, "1/2": -48, "3/4": -20, "1": 0, "3/2": 28, "4": 96}.items():
            expected = around(correlation, beat * 2 ** (steps / 48))
            assert described[f"{name}_again_after_{beats}_beat"] == pytest.approx(expected, abs=1e-4)
    correlation = librosa.autocorrelate(strengths[0] - strengths[0].mean())
    pooled = [around(correlation, RATE * 2 ** (-4 + step / 48)) for step in range(8)]
    assert described["all_again_after_66_ms"] == pytest.approx(np.mean(pooled), abs=1e-4)


@pytest.mark.parametrize("bpm", [75, 160])
def test_the_tempo_of_a_metronome_is_found(model: keras.Model, bpm: float) -> None:
    features = model(mel_image(clicks(bpm)[np.newaxis], FINE)).numpy()[0]
    assert 60 * 2 ** features[NAMES.index("tempo_octaves_over_60_bpm")] == pytest.approx(bpm, rel=0.02)

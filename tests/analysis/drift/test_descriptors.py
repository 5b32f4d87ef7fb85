"""Descriptors of a mel image equal known values, do not depend on gain, and are finite for silence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tumbao.analysis.drift.descriptors import DESCRIPTORS, describe
from tumbao.components.ingest.mel import mel_levels
from tumbao.schema.mel_spec import MelSpec

NAMES = [descriptor.name for descriptor in DESCRIPTORS]


def of_levels(levels: np.ndarray, spec: MelSpec) -> dict[str, float]:
    return dict(zip(NAMES, describe(levels, spec), strict=True))


def of_sound(samples: np.ndarray, spec: MelSpec) -> dict[str, float]:
    return of_levels(mel_levels(samples[np.newaxis].astype(np.float32), spec)[0].numpy(), spec)


def clicks(period_seconds: float, spec: MelSpec, rng: np.random.Generator) -> np.ndarray:
    """Make bursts of noise at a steady pace, over faint noise."""
    sound = 1e-3 * rng.standard_normal(spec.fragment_samples)
    for begin in np.arange(0, spec.fragment_seconds - 0.05, period_seconds) * spec.sample_rate_hz:
        sound[int(begin) : int(begin) + 400] += rng.uniform(-0.5, 0.5, 400)
    return sound


def test_silence_has_finite_descriptors(small_spec: MelSpec) -> None:
    values = of_sound(np.zeros(small_spec.fragment_samples), small_spec)
    assert values["silence_ratio"] == 1
    assert np.isfinite(list(values.values())).all()


def test_silence_at_the_end_does_not_change_the_level(small_spec: MelSpec, rng: np.random.Generator) -> None:
    noise = rng.uniform(-0.5, 0.5, small_spec.fragment_samples)
    padded = np.where(np.arange(len(noise)) < len(noise) / 2, noise, 0)
    whole, half = of_sound(noise, small_spec), of_sound(padded, small_spec)
    assert half["silence_ratio"] == pytest.approx(0.5, abs=0.05)
    assert half["mean_level"] == pytest.approx(whole["mean_level"], abs=1)
    assert half["spectral_centroid"] == pytest.approx(whole["spectral_centroid"], rel=0.05)


def test_a_single_band_has_its_frequency_and_no_bandwidth(small_spec: MelSpec) -> None:
    levels = np.zeros((small_spec.image_height, small_spec.image_width), np.uint8)
    levels[-1 - 12] = 255  # the 13th band from below, all others 80 dB under it
    values = of_levels(levels, dataclasses.replace(small_spec, dynamic_range_db=200.0))
    import librosa

    hertz = librosa.mel_frequencies(34, fmin=0, fmax=4_000)[13]
    assert values["spectral_centroid"] == pytest.approx(hertz, rel=1e-3)
    assert values["spectral_bandwidth"] == pytest.approx(0, abs=5)


def test_noise_is_flatter_than_a_tone(small_spec: MelSpec, rng: np.random.Generator) -> None:
    time = np.arange(small_spec.fragment_samples) / small_spec.sample_rate_hz
    tone, noise = np.sin(2 * np.pi * 500 * time), rng.uniform(-0.5, 0.5, small_spec.fragment_samples)
    assert of_sound(noise, small_spec)["spectral_flatness"] > -2
    assert of_sound(tone, small_spec)["spectral_flatness"] < -30


def test_low_and_high_energy_are_shares_of_the_power(rng: np.random.Generator) -> None:
    spec = MelSpec()
    levels = np.full((spec.image_height, spec.image_width), 255, np.uint8)
    values = of_levels(levels, spec)
    import librosa

    bands = librosa.mel_frequencies(130, fmin=0, fmax=11_025)[1:-1]
    assert values["low_energy"] == pytest.approx(10 * np.log10((bands < 250).mean()), abs=0.5)
    assert values["high_energy"] == pytest.approx(10 * np.log10((bands > 4_000).mean()), abs=0.5)


@pytest.mark.parametrize("period_seconds", [0.3, 0.5, 0.8])
def test_a_steady_beat_is_clear_at_any_tempo(
    period_seconds: float, small_spec: MelSpec, rng: np.random.Generator
) -> None:
    spec = dataclasses.replace(small_spec, fragment_seconds=16.0, image_width=160)
    steady = of_sound(clicks(period_seconds, spec, rng), spec)["pulse_clarity"]
    noise = of_sound(rng.uniform(-0.5, 0.5, spec.fragment_samples), spec)["pulse_clarity"]
    assert steady > 0.6
    assert noise < 0.3


def test_flux_grows_with_the_number_of_onsets(small_spec: MelSpec, rng: np.random.Generator) -> None:
    slow, fast = (of_sound(clicks(period, small_spec, rng), small_spec) for period in (0.8, 0.4))
    assert fast["spectral_flux"] > 1.5 * slow["spectral_flux"]


@pytest.mark.parametrize("hertz", [0.5, 1.0, 2.5])
def test_bass_modulation_is_the_rate_of_the_bass(hertz: float, small_spec: MelSpec) -> None:
    time = np.arange(small_spec.image_width) * small_spec.fragment_seconds / small_spec.image_width
    levels = np.zeros((small_spec.image_height, small_spec.image_width))
    levels[-2] = 200 + 50 * np.sin(2 * np.pi * hertz * time)
    levels[5] = 200 + 50 * np.sin(2 * np.pi * 4 * time)  # above the bass
    assert of_levels(levels.astype(np.uint8), small_spec)["bass_modulation"] == pytest.approx(hertz, abs=0.13)

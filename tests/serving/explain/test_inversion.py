from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.serving.explain.activation_maximization import MaximizedImage
from tumbao.serving.explain.inversion import (
    PEAK,
    mel_image_levels,
    reconstruct_audio,
)
from tumbao.serving.explain.network import Network
from tumbao.serving.explain.page import genres_section


def music(spec: MelSpec) -> np.ndarray:
    """Make a falling voice with overtones, a bass and a drum: float32 [fragment_samples]."""
    seconds = np.arange(spec.fragment_samples) / spec.sample_rate_hz
    voice = sum(np.sin(2 * np.pi * part * (300 - 5 * seconds) * seconds) / part for part in range(1, 8))
    bass = np.sign(np.sin(2 * np.pi * 80 * seconds)) * (seconds % 1 < 0.5)
    drum = np.random.default_rng(5).normal(size=len(seconds)) * np.exp(-20 * (seconds % 0.5))
    mixed = 0.2 * voice + 0.2 * bass + 0.3 * drum
    return (0.9 * mixed / np.abs(mixed).max()).astype(np.float32)


SHORT = dataclasses.replace(MelSpec(), fragment_seconds=8.0, image_width=80)
"""The paper's spec with fragments of 8 s."""


@pytest.mark.parametrize(("spec", "bound_db"), [(SHORT, 2.0), (FINE, 2.0)], ids=["paper", "fine"])
def test_reconstructed_audio_has_a_similar_image(spec: MelSpec, bound_db: float) -> None:
    image = mel_image_levels(music(spec), spec)
    again = mel_image_levels(reconstruct_audio(image, spec), spec)
    step_db = spec.dynamic_range_db / 255
    assert step_db * np.abs(again.astype(float) - image).mean() < bound_db
    assert step_db * np.abs(again.astype(float) - np.random.default_rng(0).permuted(image)).mean() > 5 * bound_db


def test_a_tone_keeps_its_pitch_and_time(tone: Callable[..., np.ndarray]) -> None:
    samples = np.zeros(SHORT.fragment_samples, np.float32)
    half = SHORT.fragment_samples // 2
    samples[:half] = tone(4.0, hz=1_000)
    audio = reconstruct_audio(mel_image_levels(samples, SHORT), SHORT)
    assert audio.dtype == np.float32
    assert len(audio) == SHORT.fragment_samples
    assert np.abs(audio).max() == pytest.approx(PEAK)
    assert np.square(audio[:half]).sum() > 1_000 * np.square(audio[half + SHORT.sample_rate_hz // 4 :]).sum()
    spectrum = np.abs(np.fft.rfft(audio))
    assert abs(spectrum.argmax() / 8.0 - 1_000) < 30


def test_the_section_on_genres_counts_images_above_the_limit(tiny: Network) -> None:
    levels = np.zeros(tiny.spec.image_shape[:2], np.uint8)
    sounds = np.zeros(tiny.spec.fragment_samples, np.float32)
    images = [
        MaximizedImage("salsa", "", levels, sounds, 0.1, 0.99, 0.95, 2.0),
        MaximizedImage("salsa", "<b>.mp3, from 0:30", levels, sounds, 0.1, 0.98, 0.4, 3.0),
    ]
    html = genres_section(images, tiny)
    assert "Of 2 generated images, 2 are above 90.0\N{NO-BREAK SPACE}% as images and 1 as audio" in html
    assert "differ by 2.5 dB" in html
    assert "starting from music: " in html
    assert "&lt;b&gt;.mp3, from 0:30" in html
    assert "noise at the start" not in html
    already = [dataclasses.replace(image, start_probability=0.95) for image in images]
    assert "classifies the noise at the start as <b>salsa</b>, with" in genres_section(already, tiny)
    assert "is not possible for this model:</strong> no gradient" in genres_section([], tiny, "no gradient")

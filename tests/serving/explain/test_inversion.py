"""Sound → image → sound → image: how far it comes back, and what is lost on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from tumbao.components.ingest.mel import mel_decibels, mel_image, palette, resize_matrices
from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.serving.explain.inversion import (
    PEAK,
    decibels,
    difference_db,
    levels_from_image,
    mel_image_levels,
    reconstruct_audio,
)


def music(spec: MelSpec) -> np.ndarray:
    """Make a falling voice with overtones, a bass and a drum: float32 [fragment_samples]."""
    seconds = np.arange(spec.fragment_samples) / spec.sample_rate_hz
    voice = sum(np.sin(2 * np.pi * part * (300 - 5 * seconds) * seconds) / part for part in range(1, 8))
    bass = np.sign(np.sin(2 * np.pi * 80 * seconds)) * (seconds % 1 < 0.5)
    drum = np.random.default_rng(5).normal(size=len(seconds)) * np.exp(-20 * (seconds % 0.5))
    mixed = 0.2 * voice + 0.2 * bass + 0.3 * drum
    return (0.9 * mixed / np.abs(mixed).max()).astype(np.float32)


SHORT = dataclasses.replace(MelSpec(), fragment_seconds=8.0, image_width=80)
"""As the paper's, but 8 s long: a column is 100 ms too."""


@pytest.mark.parametrize(("spec", "bound_db"), [(SHORT, 2.0), (FINE, 2.0)], ids=["paper", "fine"])
def test_the_sound_of_an_image_has_nearly_that_image(spec: MelSpec, bound_db: float) -> None:
    image = mel_image_levels(music(spec), spec)
    again = mel_image_levels(reconstruct_audio(image, spec), spec)
    step_db = spec.dynamic_range_db / 255
    assert step_db * np.abs(again.astype(float) - image).mean() < bound_db
    assert step_db * np.abs(again.astype(float) - np.random.default_rng(0).permuted(image)).mean() > 5 * bound_db


def test_without_a_resize_eight_bits_lose_a_sixth_of_a_decibel() -> None:
    samples = music(FINE)
    error = np.abs(
        decibels(mel_image_levels(samples, FINE), FINE) - mel_decibels(samples[np.newaxis], FINE).numpy()[0].T
    )
    assert error.max() <= FINE.dynamic_range_db / 255 / 2 + 1e-4


def test_undoing_the_resize_gives_the_same_image_again() -> None:
    rows, columns = resize_matrices(SHORT)
    assert rows is not None
    assert columns is not None
    image = mel_image_levels(music(SHORT), SHORT)
    again = rows @ decibels(image, SHORT) @ columns + SHORT.dynamic_range_db
    assert np.abs(again - image * (SHORT.dynamic_range_db / 255)).mean() < 0.2


def test_a_tone_is_heard_at_its_place_and_time(tone: Callable[..., np.ndarray]) -> None:
    samples = np.zeros(SHORT.fragment_samples, np.float32)
    half = SHORT.fragment_samples // 2
    samples[:half] = tone(4.0, hz=1_000)
    heard = reconstruct_audio(mel_image_levels(samples, SHORT), SHORT)
    assert np.square(heard[:half]).sum() > 1_000 * np.square(heard[half + SHORT.sample_rate_hz // 4 :]).sum()
    spectrum = np.abs(np.fft.rfft(heard))
    assert abs(spectrum.argmax() / 8.0 - 1_000) < 30


def test_the_sound_is_float32_of_the_fragments_length_and_always_the_same() -> None:
    image = mel_image_levels(music(SHORT), SHORT)
    first, second = reconstruct_audio(image, SHORT), reconstruct_audio(image, SHORT)
    assert (first.dtype, first.shape) == (np.float32, (SHORT.fragment_samples,))
    assert np.abs(first).max() == pytest.approx(PEAK)
    np.testing.assert_array_equal(first, second)


def test_an_empty_image_is_silence() -> None:
    assert not reconstruct_audio(np.zeros(SHORT.image_shape[:2]), SHORT).any()


def test_the_colour_map_is_undone() -> None:
    image = mel_image(music(SHORT)[np.newaxis], SHORT).numpy()[0]
    np.testing.assert_array_equal(levels_from_image(image, SHORT), mel_image_levels(music(SHORT), SHORT))
    np.testing.assert_array_equal(palette(SHORT)[levels_from_image(image.astype(np.float32) + 0.2, SHORT)], image)


@pytest.mark.parametrize("picture", [np.zeros((3, 4)), np.full((300, 80), 256), np.full((300, 80), np.nan)])
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"Expected an image of 300×80 steps within 0 and 255\. Received: "):
        reconstruct_audio(picture, SHORT)


def test_black_and_white_are_the_whole_range_apart() -> None:
    black, white = np.zeros((2, 3), np.uint8), np.full((2, 3), 255, np.uint8)
    assert (
        difference_db(black, white, FINE) == difference_db(white, black, FINE) == pytest.approx(FINE.dynamic_range_db)
    )
    assert difference_db(white, white, FINE) == 0

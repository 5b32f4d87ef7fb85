"""The front-end compared with librosa, and properties of the mel image."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.mel import mel_decibels, mel_image, mel_levels, palette
from tumbao.schema.mel_spec import MelSpec

SPEC = MelSpec()
TIME = np.arange(SPEC.fragment_samples) / SPEC.sample_rate_hz


def chirp(start_hz: float = 300, end_hz: float = 8_000) -> np.ndarray:
    """Rise from one frequency to the other in one fragment."""
    hz_per_second = (end_hz - start_hz) / SPEC.fragment_seconds
    return (0.5 * np.sin(2 * np.pi * (start_hz + hz_per_second * TIME / 2) * TIME)).astype(np.float32)


def clicks(*seconds: float) -> np.ndarray:
    samples = np.zeros(SPEC.fragment_samples, np.float32)
    for second in seconds:
        samples[round(second * SPEC.sample_rate_hz)] = 1
    return samples


def noise(peak: float = 0.5) -> np.ndarray:
    return np.random.default_rng(1).uniform(-peak, peak, SPEC.fragment_samples).astype(np.float32)


def sine(hz: float = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * TIME)).astype(np.float32)


SOUNDS = {"noise": noise(), "sine": sine(), "clicks": clicks(1, 7.5, 22), "chirp": chirp()}


def levels(*fragments: np.ndarray) -> np.ndarray:
    return mel_levels(tf.constant(np.stack(fragments)), SPEC).numpy()


def librosa_decibels(samples: np.ndarray) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=SPEC.sample_rate_hz,
        n_fft=SPEC.window_samples,
        hop_length=SPEC.hop_samples,
        n_mels=SPEC.mel_bands,
        fmin=SPEC.mel_min_hz,
        fmax=SPEC.mel_max_hz,
    )
    return librosa.power_to_db(mel, ref=np.max, top_db=SPEC.dynamic_range_db)


@pytest.mark.parametrize("sound", SOUNDS)
def test_decibels_equal_librosas(sound: str) -> None:
    decibels = mel_decibels(tf.constant(SOUNDS[sound][np.newaxis]), SPEC)[0].numpy()
    assert decibels.shape == (SPEC.frames, SPEC.mel_bands)
    np.testing.assert_allclose(decibels.T, librosa_decibels(SOUNDS[sound]), atol=0.01)


@pytest.mark.parametrize("sound", SOUNDS)
def test_the_image_is_the_antialiased_resize_of_librosas(sound: str) -> None:
    upright = librosa_decibels(SOUNDS[sound])[::-1, :, np.newaxis]
    resized = tf.image.resize(upright, SPEC.image_shape[:2], antialias=True)[:, :, 0].numpy()
    expected = (resized / SPEC.dynamic_range_db + 1) * 255
    np.testing.assert_allclose(levels(SOUNDS[sound])[0], expected, atol=1)


def test_a_batch_gives_the_images_of_its_fragments() -> None:
    together = levels(*SOUNDS.values())
    for image, fragment in zip(together, SOUNDS.values(), strict=True):
        np.testing.assert_array_equal(image, levels(fragment)[0])


def test_a_loud_neighbour_has_no_effect() -> None:
    quiet = 0.001 * sine()
    np.testing.assert_array_equal(levels(quiet, noise(1.0))[0], levels(quiet)[0])


def test_silence_is_the_floor_everywhere() -> None:
    silence = np.zeros(SPEC.fragment_samples, np.float32)
    decibels = mel_decibels(tf.constant(silence[np.newaxis]), SPEC).numpy()
    assert (decibels == -SPEC.dynamic_range_db).all()
    assert not levels(silence).any()


@pytest.mark.parametrize("sound", ["noise", "sine", "chirp"])
def test_the_image_does_not_depend_on_the_gain(sound: str) -> None:
    loud, soft = levels(SOUNDS[sound], 0.1 * SOUNDS[sound])
    np.testing.assert_allclose(loud, soft, atol=1)


def test_full_scale_stays_within_the_scale() -> None:
    square = np.sign(sine(110)).astype(np.float32)
    decibels = mel_decibels(tf.constant(square[np.newaxis]), SPEC).numpy()
    assert decibels.max() == 0
    assert decibels.min() >= -SPEC.dynamic_range_db
    assert 250 <= levels(square).max() <= 255


def test_the_image_is_the_levels_in_the_palettes_colours() -> None:
    image = mel_image(tf.constant(chirp()[np.newaxis]), SPEC).numpy()
    assert image.shape == (1, *SPEC.image_shape)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, palette(SPEC)[levels(chirp())])


def test_the_palette_has_256_colours_of_increasing_luminance() -> None:
    colours = palette(SPEC)
    assert len(np.unique(colours, axis=0)) == 256
    luminance = colours @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance[::4]) > 0).all()  # neighbours differ by the rounding of their colours

"""What a picture keeps of a sound, in numbers that the page states."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.serving.explain.activation_maximization import MaximizedImage
from tumbao.serving.explain.inversion import fidelity, semitone_hz, synthetic_sound
from tumbao.serving.explain.network import Network
from tumbao.serving.explain.page import fidelity_section, genres_section

SHORT = dataclasses.replace(MelSpec(), fragment_seconds=8.0, image_width=80)
SHORT_FINE = dataclasses.replace(FINE, fragment_seconds=4.0, image_width=251)
"""As the two that there are, but short."""


def test_columns_of_a_tenth_of_a_second_lose_what_fine_ones_keep() -> None:
    coarse = fidelity("known", synthetic_sound(SHORT), SHORT)
    fine = fidelity("known", synthetic_sound(SHORT_FINE), SHORT_FINE)
    assert fine.picture_db < fine.steps_db < 1 < coarse.picture_db < 10
    assert max(fine.sound_db, coarse.sound_db) < 4
    assert np.abs(coarse.reconstructed).max() == pytest.approx(0.9)


def test_bands_stand_a_semitone_apart_where_the_mel_scale_is_linear_and_low() -> None:
    """Slaney's scale has 15 steps up to 1,000 Hz and 27 from there to 6.4 times as much."""
    spec = MelSpec()
    apart_hz = 1_000 / 15 * (15 + 27 * np.log(spec.mel_max_hz / 1_000) / np.log(6.4)) / (spec.mel_bands + 1)
    assert spec.mel_min_hz == 0
    assert semitone_hz(spec) <= apart_hz / (2 ** (1 / 12) - 1) < semitone_hz(spec) + apart_hz


def test_the_known_sound_is_a_scale_with_a_drum() -> None:
    samples = synthetic_sound(SHORT)
    assert (samples.dtype, samples.shape) == (np.float32, (SHORT.fragment_samples,))
    assert np.abs(samples).max() == pytest.approx(0.9)
    first = np.abs(np.fft.rfft(samples[SHORT.sample_rate_hz // 10 : SHORT.sample_rate_hz // 2]))
    assert first.argmax() / 0.4 == pytest.approx(220, abs=3)


def test_the_page_states_what_was_measured(tiny: Network) -> None:
    told = fidelity("a <song>", synthetic_sound(tiny.spec), tiny.spec)
    html = fidelity_section(told, tiny.spec)
    for number in (told.steps_db, told.picture_db, told.sound_db):
        assert f"<dd>{number:.2f} dB</dd>" in html
    assert "a &lt;song&gt;" in html
    assert f"tuning below about {round(semitone_hz(tiny.spec), -1):.0f} Hz" in html
    assert "Nearly everything that is missing" in html
    assert html.count("data:audio/mpeg;base64,") == 2


def test_the_page_counts_dreams_that_hold_as_sound(tiny: Network) -> None:
    levels = np.zeros(tiny.spec.image_shape[:2], np.uint8)
    sounds = np.zeros(tiny.spec.fragment_samples, np.float32)
    dreams = [
        MaximizedImage("salsa", "", levels, sounds, 0.1, 0.99, 0.95, 2.0),
        MaximizedImage("salsa", "<b>.mp3, from 0:30", levels, sounds, 0.1, 0.98, 0.4, 3.0),
    ]
    html = genres_section(dreams, tiny)
    assert "Of 2 generated images, 2 are above 90.0\N{NO-BREAK SPACE}% as images and 1 as audio" in html
    assert "differ by 2.5 dB" in html
    assert "starting from music: " in html
    assert "&lt;b&gt;.mp3, from 0:30" in html
    assert "noise at the start" not in html
    already = [dataclasses.replace(dream, start_probability=0.95) for dream in dreams]
    assert "classifies the noise at the start as <b>salsa</b>, with" in genres_section(already, tiny)
    assert "is not possible for this model:</strong> no gradient" in genres_section([], tiny, "no gradient")

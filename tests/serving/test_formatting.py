"""Formats of numbers for readers, and the frequency axis of mel images."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.formatting import clock, decimal, duration, megabytes, percent
from tumbao.serving.style import height_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (4_800, "1 h 20 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_numbers() -> None:
    assert (percent(0.8754), percent(float("nan"))) == ("87.5\N{NO-BREAK SPACE}%", "–")
    assert (decimal(0.87546, 4), decimal(None), decimal(float("nan"))) == ("0.8755", "–", "–")
    assert megabytes(36_249_000) == "36.2\N{NO-BREAK SPACE}MB"
    assert [clock(seconds) for seconds in (0, 59.6, 185, 3_600)] == ["0:00", "1:00", "3:05", "1:00:00"]


def test_heights_of_frequencies_are_librosas_bands() -> None:
    spec = MelSpec()
    centres = librosa.mel_frequencies(n_mels=spec.mel_bands + 2, fmin=spec.mel_min_hz, fmax=spec.mel_max_hz)[1:-1]
    np.testing.assert_allclose([height_of(hz, spec) for hz in centres], (np.arange(128) + 0.5) / 128, atol=1e-9)

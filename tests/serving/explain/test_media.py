"""What the page plays is what is spoken of: its high bands too."""

from __future__ import annotations

import base64
import io

import numpy as np
import soundfile
from scipy.signal import welch

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.page import player


def test_a_player_keeps_the_bands_that_the_page_speaks_of() -> None:
    spec = MelSpec()
    noise = 0.1 * np.random.default_rng(1).standard_normal(5 * spec.sample_rate_hz).astype(np.float32)
    content = base64.b64decode(player(noise, spec).partition("base64,")[2])
    played, rate = soundfile.read(io.BytesIO(content))
    assert rate == spec.sample_rate_hz
    (hertz, before), (_, after) = (welch(sound, rate, nperseg=1024) for sound in (noise, played))
    kept = 10 * np.log10(after / before)
    assert np.abs(kept[(hertz > 100) & (hertz < 9_500)]).max() < 3

"""Changes of a recording that listeners would not notice do not change its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from scipy.special import softmax

from tests.serving.small_network import SPEC
from tumbao.components.ingest.fragments import Fragment, read
from tumbao.components.ingest.mel import mel_image
from tumbao.serving.song import SongAnswer, combine

RATE = 22_050


def song(hz: float) -> np.ndarray:
    """Synthesize 13 s of a chord with a beat that repeats every half second."""
    seconds = np.arange(13 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * ratio * hz * seconds) for ratio in (1, 1.25, 1.5)) / 8
    beat = np.resize(np.random.default_rng(0).uniform(-0.5, 0.5, RATE // 2), len(seconds)) * np.exp(
        -20 * (seconds % 0.5)
    )
    return (chord * (seconds % 0.5 < 0.4) + beat).astype(np.float32)


def classify(path: Path, samples: np.ndarray, **options: Any) -> SongAnswer:
    soundfile.write(path, samples, RATE, **options)
    fragments = [item.samples for item in read(path, SPEC) if isinstance(item, Fragment) and not item.silent]
    brightness = mel_image(np.stack(fragments), SPEC).numpy().mean(axis=(2, 3)) / 255
    bands = [part.mean(axis=1) for part in np.array_split(brightness, 3, axis=1)]
    return combine(softmax(20 * np.stack(bands, axis=1), axis=1))


@pytest.mark.parametrize(
    ("name", "change", "options"),
    [
        pytest.param("a.wav", lambda samples: 0.05 * samples, {"subtype": "FLOAT"}, id="gain of -26 dB"),
        pytest.param("a.wav", lambda samples: -samples, {"subtype": "FLOAT"}, id="inverted"),
        pytest.param("a.wav", lambda samples: np.stack([samples, samples], axis=1), {"subtype": "FLOAT"}, id="stereo"),
        pytest.param("a.wav", lambda samples: samples[RATE:], {"subtype": "FLOAT"}, id="starts a second later"),
        pytest.param("a.flac", np.asarray, {}, id="flac"),
        pytest.param("a.ogg", np.asarray, {}, id="ogg"),
        pytest.param("a.mp3", np.asarray, {}, id="mp3"),
    ],
)
def test_the_answer_does_not_change(tmp_path: Path, name: str, change: Any, options: dict[str, str]) -> None:
    low, high = (classify(tmp_path / "original.wav", song(hz), subtype="FLOAT") for hz in (220, 900))
    assert np.abs(np.subtract(low.probabilities, high.probabilities)).max() > 0.2
    for hz, original in ((220, low), (900, high)):
        changed = classify(tmp_path / name, change(song(hz)), **options)
        assert changed.genre == original.genre
        assert changed.probabilities == pytest.approx(original.probabilities, abs=0.03)

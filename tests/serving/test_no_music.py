from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import soxr
from scipy.signal import lfilter

from tumbao.components.ingest.mel import mel_levels, palette
from tumbao.datasets.demo.library import compose
from tumbao.datasets.demo.render import SAMPLE_RATE_HZ, waveform
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.out_of_distribution import DistributionRanges, fit_ranges

SPEC = MelSpec()
RATE = SPEC.sample_rate_hz
TIME = np.arange(SPEC.fragment_samples) / RATE
COLOURS = palette(SPEC)
SECONDS = (3, 4.5, 7, 10, 18, 29)


def composed(genre: str, index: int) -> np.ndarray:
    """Return the whole fragments of a composed song."""
    sound = soxr.resample(waveform(compose(genre, index, 7).midi()).mean(axis=1), SAMPLE_RATE_HZ, RATE)
    return sound[: len(sound) // TIME.size * TIME.size].astype(np.float32)


def render(sounds: Iterable[np.ndarray]) -> np.ndarray:
    """Compute levels of sounds of up to 30 s; short ones are padded with silence."""
    whole = [np.pad(sound / np.abs(sound).max(), (0, TIME.size - len(sound))) for sound in sounds]
    return mel_levels(np.stack(whole).astype(np.float32), SPEC).numpy()


@pytest.fixture(scope="module")
def known() -> DistributionRanges:
    chosen = [(genre, index) for genre in ("bachata", "merengue", "salsa") for index in (0, 2)]
    songs = [composed(genre, index).reshape(-1, TIME.size) for genre, index in chosen]
    found = fit_ranges(render(np.concatenate(songs)), COLOURS)
    assert found is not None
    return found


def white_noise(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-0.5, 0.5, TIME.size)


def pink_noise(rng: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(rng.normal(size=TIME.size)) / np.sqrt(np.arange(TIME.size // 2 + 1) + 1)
    return np.fft.irfft(spectrum)


def sine(rng: np.random.Generator) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * rng.uniform(80, 4_000) * TIME)


def clicks(rng: np.random.Generator) -> np.ndarray:
    sound = np.zeros(TIME.size)
    sound[:: RATE // int(rng.integers(1, 9))] = 0.9
    return sound


def speech_like(rng: np.random.Generator) -> np.ndarray:
    phase = np.cumsum(rng.uniform(90, 200) * 2 ** (0.2 * np.sin(2.5 * TIME))) / RATE
    pulses = np.diff(np.floor(phase), prepend=0) + 0.01 * rng.normal(size=TIME.size)
    syllables = []
    for syllable in np.array_split(pulses, 120):
        for hz in (rng.uniform(300, 800), rng.uniform(900, 2_300), 2_600):
            radius = np.exp(-100 * np.pi / RATE)
            syllable = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / RATE), radius**2], syllable)
        syllables.append(syllable * np.hanning(len(syllable)) * (rng.random() > 0.15))
    return np.concatenate(syllables)


@pytest.mark.parametrize("make", [white_noise, pink_noise, sine, clicks, speech_like])
def test_sounds_other_than_music_are_out_of_distribution(
    make: Callable[[np.random.Generator], np.ndarray], known: DistributionRanges, rng: np.random.Generator
) -> None:
    whole = [make(rng) for _ in range(3)]
    short = [make(rng)[: round(seconds * RATE)] for seconds in SECONDS]
    assert not any(known.contains(image) for image in COLOURS[render([*whole, *short])])


def test_another_song_and_its_parts_are_in_distribution(known: DistributionRanges) -> None:
    song = composed("merengue", 1)
    assert all(known.contains(image) for image in COLOURS[render(song.reshape(-1, TIME.size))])
    for begin in (0, 40):
        parts = COLOURS[render(song[begin * RATE :][: round(seconds * RATE)] for seconds in SECONDS)]
        assert [known.contains(part) for part in parts] == [True] * len(SECONDS)

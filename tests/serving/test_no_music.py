"""The distance in the rhythm of composed songs refuses sounds that are no music, and accepts other songs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import soxr
from scipy.signal import lfilter

from tumbao.components.ingest.mel import mel_image
from tumbao.datasets.demo.library import compose
from tumbao.datasets.demo.render import SAMPLE_RATE_HZ, waveform
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import FINE
from tumbao.trainer.backbones import RHYTHM
from tumbao.trainer.distance import HiddenFeatures, distance_rule
from tumbao.trainer.linear import standardisation
from tumbao.trainer.models.tumbao import GROUPS, composed_songs

RATE = FINE.sample_rate_hz
TIME = np.arange(FINE.fragment_samples) / RATE
SECONDS = (3, 7, 18)
IsKnown = Callable[[Iterable[np.ndarray]], np.ndarray]


@pytest.fixture(scope="module")
def is_known() -> IsKnown:
    """Fit the distance to the composed songs of the package; shorter sounds are repeated."""
    songs = composed_songs(GENRES)
    assert songs is not None
    mean, deviation = standardisation(songs.features, GROUPS)
    scaled = (songs.features - mean) / deviation
    found = distance_rule(HiddenFeatures(scaled, songs.labels, np.arange(len(scaled)).astype(str)), None)
    assert found is not None
    distance, rule = found
    backbone = RHYTHM.build(None, "float32")

    def check(sounds: Iterable[np.ndarray]) -> np.ndarray:
        waves = [np.resize(sound / np.abs(sound).max(), TIME.size).astype(np.float32) for sound in sounds]
        features = [backbone(mel_image(wave[np.newaxis], FINE), training=False).numpy()[0] for wave in waves]
        return distance((np.array(features) - mean) / deviation) <= rule.threshold

    return check


def white_noise(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-0.5, 0.5, TIME.size)


def sine(rng: np.random.Generator) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * rng.uniform(80, 4_000) * TIME)


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


@pytest.mark.parametrize("make", [white_noise, sine, speech_like])
def test_sounds_other_than_music_are_out_of_distribution(
    make: Callable[[np.random.Generator], np.ndarray], is_known: IsKnown, rng: np.random.Generator
) -> None:
    sounds = [make(rng)[: round(seconds * RATE)] for seconds in (30, 30, *SECONDS)]
    assert not is_known(sounds).any()


def test_other_composed_songs_and_their_parts_are_in_distribution(is_known: IsKnown) -> None:
    songs = [waveform(compose(genre, 1, 7).midi()).mean(axis=1) for genre in GENRES]
    songs = [soxr.resample(song, SAMPLE_RATE_HZ, RATE) for song in songs]
    assert is_known(song[: TIME.size] for song in songs).mean() >= 0.8
    assert is_known(song[20 * RATE : 30 * RATE] for song in songs).mean() >= 0.6

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tumbao.components.ingest.fragments import MIN_SONG_SECONDS, cut, fragment_count
from tumbao.components.ingest.waveform import AudioError, Reason
from tumbao.schema.mel_spec import MelSpec

SPEC = MelSpec()


def test_fragments_are_the_song_without_its_tail(rng: np.random.Generator) -> None:
    samples = rng.uniform(-1, 1, 75 * SPEC.sample_rate_hz).astype(np.float32)
    fragments, padded = cut(samples, SPEC)
    assert fragments.shape == (2, SPEC.fragment_samples)
    assert not padded
    np.testing.assert_array_equal(fragments.ravel(), samples[: 60 * SPEC.sample_rate_hz])


def test_a_short_song_is_padded_with_silence_at_its_end(tone: Callable[..., np.ndarray]) -> None:
    samples = tone(12)
    fragments, padded = cut(samples, SPEC)
    assert fragments.shape == (1, SPEC.fragment_samples)
    assert fragments.dtype == np.float32
    assert padded
    np.testing.assert_array_equal(fragments[0, : len(samples)], samples)
    assert not fragments[0, len(samples) :].any()


def test_one_whole_fragment_is_not_padded() -> None:
    assert cut(np.ones(SPEC.fragment_samples, np.float32), SPEC)[1] is False
    assert cut(np.ones(SPEC.fragment_samples - 1, np.float32), SPEC)[1] is True


def test_a_song_under_the_minimum_is_refused_by_name() -> None:
    least = round(MIN_SONG_SECONDS * SPEC.sample_rate_hz)
    assert len(cut(np.ones(least, np.float32), SPEC)[0]) == 1
    with pytest.raises(AudioError, match=r"jingle\.mp3: lasts 3\.0 s, expected at least 3 s") as caught:
        cut(np.ones(least - 1, np.float32), SPEC, "jingle.mp3")
    assert caught.value.reason is Reason.TOO_SHORT


@pytest.mark.parametrize("samples", [np.ones((2, 100_000), np.float32), np.ones(100_000, np.int16)])
def test_only_mono_float32_is_cut(samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected mono float32"):
        cut(samples, SPEC)


@pytest.mark.parametrize("seconds", [3, 3.5, 29.99, 30, 31, 59.99, 60, 95, 180, 180.0001])
def test_the_count_is_that_of_cut(seconds: float) -> None:
    samples = np.ones(round(seconds * SPEC.sample_rate_hz), np.float32)
    assert fragment_count(seconds, SPEC) == len(cut(samples, SPEC)[0])


def test_a_refused_song_counts_none() -> None:
    assert fragment_count(0, SPEC) == fragment_count(2.99, SPEC) == 0

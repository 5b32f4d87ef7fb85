"""Songs are cut into fragments while they are decoded."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.sounds import decode, write_libav
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.fragments import MIN_SONG_SECONDS, Fragment, Fragments, SongSummary, fragment_count, read
from tumbao.schema.mel_spec import MelSpec

SPEC = MelSpec()
SMALL = MelSpec(sample_rate_hz=8_000, fragment_seconds=4.0, window_samples=512, hop_samples=128, mel_max_hz=4_000.0)
Tone = Callable[..., np.ndarray]


def write(path: Path, samples: np.ndarray, rate: int = SMALL.sample_rate_hz) -> Path:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def square(count: int, level: float = 1.0) -> np.ndarray:
    return np.resize(np.array([level, -level], np.float32), count)


def everything(
    path: Path, spec: MelSpec, start: float = 0.0, end: float | None = None
) -> tuple[list[Fragment], SongSummary]:
    fragments = Fragments(read(path, spec, start, end))
    return list(fragments), fragments.ending


def refusal(path: Path, spec: MelSpec = SMALL) -> AudioError:
    with pytest.raises(AudioError) as caught:
        list(read(path, spec))
    return caught.value


def encode(path: Path, seconds: float, rng: np.random.Generator) -> Path:
    """Write noise that comes and goes, at 44.1 kHz."""
    count = round(44_100 * seconds)
    noise = (rng.uniform(-0.5, 0.5, count) * np.abs(np.sin(np.arange(count) / 9_000))).astype(np.float32)
    if path.suffix in (".m4a", ".webm"):
        if path.suffix == ".webm":
            return write_libav(path, noise, 48_000, "libopus")
        return write_libav(path, noise, 44_100, "aac")
    with soundfile.SoundFile(path, "w", 48_000 if "48" in path.name else 44_100, 2) as file:
        for start in range(0, count, 4_096):
            file.write(np.stack([noise[start : start + 4_096]] * 2, 1))
    return path


@pytest.mark.parametrize(
    "name", ["a.wav", "48.wav", "a.flac", "48.flac", "a.ogg", "a.mp3", "48.mp3", "a.m4a", "a.webm"]
)
def test_fragments_are_exactly_those_of_the_whole_file(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    path = encode(tmp_path / name, 20, rng)
    whole = decode(path, SPEC.sample_rate_hz).samples
    spec = MelSpec(fragment_seconds=4.0)
    fragments, ending = everything(path, spec)
    assert [fragment.index for fragment in fragments] == [0, 1, 2, 3, 4][: len(fragments)]
    joined = np.concatenate([fragment.samples for fragment in fragments])
    np.testing.assert_array_equal(joined, whole[: len(joined)])
    assert len(whole) - len(joined) < spec.fragment_samples
    assert ending.seconds == len(whole) / spec.sample_rate_hz
    (part,), _ = everything(path, spec, 9.7, 14.0)  # where a decoder jumps, it comes out where decoding all would
    begin = round(9.7 * spec.sample_rate_hz)
    np.testing.assert_allclose(part.samples, whole[begin : begin + spec.fragment_samples], atol=2e-6)


def test_gain_format_and_a_later_start_do_not_change_the_fragments(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = np.round(rng.uniform(-(2**14), 2**14, 9 * 8_000)) / 2**15
    expected = [one.samples for one in everything(write(tmp_path / "a.wav", samples), SMALL)[0]]
    softer = write(tmp_path / "softer.wav", samples / 4)
    later = write(tmp_path / "later.wav", np.concatenate([np.zeros(8_000), samples]))
    soundfile.write(tmp_path / "a.flac", samples, 8_000)
    for path, gain, start in ((softer, 1 / 4, 0.0), (later, 1, 1.0), (tmp_path / "a.flac", 1, 0.0)):
        for one, same in zip(everything(path, SMALL, start)[0], expected, strict=True):
            np.testing.assert_allclose(one.samples, gain * same, atol=1e-7)


def test_a_short_song_is_repeated_until_the_fragment_is_full(tmp_path: Path, tone: Tone) -> None:
    samples = tone(3.5, rate=8_000)
    ((fragment,), ending) = everything(write(tmp_path / "a.wav", samples), SMALL)
    assert fragment.padded
    assert fragment.samples.shape == (SMALL.fragment_samples,)
    np.testing.assert_array_equal(fragment.samples[: len(samples)], samples)
    np.testing.assert_array_equal(fragment.samples[len(samples) :], samples[: SMALL.fragment_samples - len(samples)])
    assert ending.seconds == 3.5


def test_one_whole_fragment_is_not_padded(tmp_path: Path) -> None:
    for count, padded in ((SMALL.fragment_samples, False), (SMALL.fragment_samples - 1, True)):
        ((fragment,), _) = everything(write(tmp_path / "a.wav", square(count)), SMALL)
        assert fragment.padded is padded


def test_a_song_below_the_minimum_is_refused(tmp_path: Path) -> None:
    least = round(MIN_SONG_SECONDS * SMALL.sample_rate_hz)
    assert len(everything(write(tmp_path / "jingle.wav", square(least)), SMALL)[0]) == 1
    error = refusal(write(tmp_path / "jingle.wav", square(least - 1)))
    assert error.reason is Reason.TOO_SHORT
    assert str(error) == f"{tmp_path / 'jingle.wav'}: lasts 3.0 s, expected at least 3 s"


def test_a_song_truncated_before_the_minimum_is_refused_as_truncated(tmp_path: Path, rng: np.random.Generator) -> None:
    path = write(tmp_path / "a.wav", rng.uniform(-1, 1, 20 * 8_000))
    path.write_bytes(path.read_bytes()[: 2 * 8_000 * 4])
    error = refusal(path)
    assert error.reason is Reason.TRUNCATED
    assert error.message == "breaks off: decoded 2.0 of 20.0 s, expected at least 3 s"


def test_silent_fragments_are_flagged_and_silent_songs_refused(tmp_path: Path, tone: Tone) -> None:
    loud, nothing = tone(4, rate=8_000), np.zeros(4 * 8_000, np.float32)
    faint, soft = square(4 * 8_000, 9e-5), square(4 * 8_000, 1.1e-4)
    path = write(tmp_path / "a.wav", np.concatenate([nothing, loud, faint, soft]))
    assert [fragment.silent for fragment in everything(path, SMALL)[0]] == [True, False, True, False]
    error = refusal(write(tmp_path / "b.wav", np.concatenate([nothing, faint])))
    assert (error.reason, error.message) == (
        Reason.SILENT,
        "is silent: its peak is 9.0e-05, expected at least 1e-04 of full scale",
    )


def test_a_fragment_above_full_scale_is_scaled_alone(tmp_path: Path, tone: Tone) -> None:
    samples = tone(8, rate=8_000)
    samples[: 4 * 8_000] *= 5
    (first, second), _ = everything(write(tmp_path / "a.wav", samples), SMALL)
    assert np.abs(first.samples).max() == 1
    np.testing.assert_allclose(first.samples, 2 * tone(4, rate=8_000), atol=1e-4)
    np.testing.assert_array_equal(second.samples, samples[4 * 8_000 :])


def test_a_song_ends_at_samples_that_are_not_finite(tmp_path: Path, tone: Tone) -> None:
    samples = tone(12, rate=8_000)
    samples[9 * 8_000] = np.nan
    fragments, ending = everything(write(tmp_path / "a.wav", samples), SMALL)
    assert (len(fragments), ending.truncated) == (2, True)
    assert 8 <= ending.seconds < 9.1
    samples[100] = np.inf
    assert refusal(write(tmp_path / "a.wav", samples)).reason is Reason.NOT_FINITE


@pytest.mark.parametrize("name", ["square.flac", "noise.mp3"])
def test_a_long_file_takes_no_more_memory_than_a_short_one(tmp_path: Path, rng: np.random.Generator, name: str) -> None:
    """Memory that Python and numpy allocate is counted, not what libraries cache."""
    peaks = []
    for hours in (0.05, 0.35):
        block = square(8_000 * 60, 0.5) if name == "square.flac" else rng.uniform(-0.5, 0.5, 8_000 * 60)
        with soundfile.SoundFile(tmp_path / name, "w", 8_000, 1) as file:
            for _ in range(round(hours * 60)):
                file.write(block)
        tracemalloc.start()
        fragments = sum(isinstance(item, Fragment) for item in read(tmp_path / name, SMALL))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert fragments == pytest.approx(hours * 900, abs=1)
    assert peaks[1] < 1.15 * peaks[0]
    assert peaks[1] < 5e6


@pytest.mark.parametrize("seconds", [3, 3.5, 3.99, 4, 5, 7.99, 8, 13, 24, 24.0001])
def test_fragment_count_equals_the_fragments_that_are_read(tmp_path: Path, seconds: float) -> None:
    path = write(tmp_path / "a.wav", square(round(seconds * 8_000)))
    assert fragment_count(seconds, SMALL) == len(everything(path, SMALL)[0])

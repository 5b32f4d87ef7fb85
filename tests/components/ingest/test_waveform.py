"""Decoding of every format to mono samples, and the errors of unusable files."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from tests.sounds import RATE, decode, strongest_hz, write_libav
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.audio_file import probe

Tone = Callable[..., np.ndarray]


def refusal(path: Path) -> Reason:
    with pytest.raises(AudioError) as caught:
        decode(path, RATE)
    assert str(path) in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 2**-7),
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 2**-23),
        ("a.wav", "FLOAT", 1e-7),
        ("a.wav", "DOUBLE", 1e-7),
        ("a.aiff", "PCM_24", 2**-23),
        ("a.aiff", "PCM_16", 2**-15),
        ("a.flac", "PCM_16", 2**-15),
    ],
)
def test_a_lossless_file_at_the_same_rate_is_decoded_exactly(
    tmp_path: Path, rng: np.random.Generator, name: str, subtype: str, tolerance: float
) -> None:
    samples = rng.uniform(-0.9, 0.9, 3 * RATE).astype(np.float32)
    soundfile.write(tmp_path / name, samples, RATE, subtype=subtype)
    waveform = decode(tmp_path / name, RATE)
    assert waveform.samples.dtype == np.float32
    assert not waveform.truncated
    assert waveform.duration_seconds == waveform.declared_seconds == 3
    np.testing.assert_allclose(waveform.samples, samples, atol=tolerance)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_a_lossy_file_is_decoded_approximately(tmp_path: Path, tone: Tone, name: str) -> None:
    soundfile.write(tmp_path / name, tone(20), RATE)
    waveform = decode(tmp_path / name, RATE)
    assert waveform.duration_seconds == waveform.declared_seconds == 20
    np.testing.assert_allclose(waveform.samples[RATE:-RATE], tone(20)[RATE:-RATE], atol=0.02)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "form"),
    [
        ("a.m4a", "aac", 44_100, ()),
        ("a.webm", "libopus", 48_000, ()),
        ("a.opus", "libopus", 48_000, ()),
        ("a.mp4", "aac", 44_100, ()),
        ("alac.m4a", "alac", 44_100, ("s16p",)),
        ("a.wma", "wmav2", 44_100, ()),
        ("a.mkv", "flac", 44_100, ("s16",)),
        ("a.avi", "mp3", 44_100, ("s16p",)),
        ("a.mov", "pcm_s24le", 44_100, ("s32",)),
    ],
)
def test_files_by_libav_keep_length_level_and_pitch(
    tmp_path: Path, tone: Tone, name: str, codec: str, rate: int, form: tuple[str, ...]
) -> None:
    waveform = decode(write_libav(tmp_path / name, tone(5, rate=rate), rate, codec, *form), RATE)
    assert not waveform.truncated
    assert waveform.duration_seconds == pytest.approx(5, abs=0.1)
    middle = waveform.samples[RATE : 4 * RATE]
    assert strongest_hz(middle) == pytest.approx(440, abs=0.5)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("rate", [8_000, 32_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_the_tone(tmp_path: Path, tone: Tone, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4, hz=1_000, rate=rate), rate, subtype="FLOAT")
    waveform = decode(tmp_path / "a.wav", RATE)
    assert len(waveform.samples) == pytest.approx(4 * RATE, abs=1)
    inner = slice(RATE, 3 * RATE)
    np.testing.assert_allclose(waveform.samples[inner], tone(4, hz=1_000)[inner], atol=1e-3)


def test_frequencies_above_half_the_rate_are_not_aliased(tmp_path: Path, tone: Tone) -> None:
    soundfile.write(tmp_path / "a.wav", tone(3, hz=15_000, rate=44_100) + tone(3, hz=300, rate=44_100), 44_100)
    spectrum = np.abs(np.fft.rfft(decode(tmp_path / "a.wav", RATE).samples))
    hz = np.linspace(0, RATE / 2, len(spectrum))
    assert spectrum[hz > 1_000].max() < 1e-3 * spectrum.max()


def test_the_content_decides_not_the_extension(tmp_path: Path, tone: Tone) -> None:
    write_libav(tmp_path / "a.m4a", tone(4, rate=44_100), 44_100, "aac").rename(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.flac", tone(4), RATE)
    (tmp_path / "b.flac").rename(tmp_path / "b.raw")
    assert decode(tmp_path / "a.wav", RATE).duration_seconds == pytest.approx(4, abs=0.1)
    assert decode(tmp_path / "b.raw", RATE).duration_seconds == 4


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.flac", "a.mp3", "a.m4a"])
def test_a_truncated_file_is_decoded_to_its_end_and_flagged(
    tmp_path: Path, rng: np.random.Generator, name: str
) -> None:
    samples = rng.uniform(-0.5, 0.5, 10 * 44_100).astype(np.float32)
    path = tmp_path / name
    if name == "a.m4a":
        write_libav(path, samples, 44_100, "aac", movflags="faststart")
    else:
        soundfile.write(path, samples, 44_100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    waveform = decode(path, RATE)
    assert waveform.truncated
    assert waveform.declared_seconds == pytest.approx(10, abs=0.1)
    assert waveform.duration_seconds == pytest.approx(5, abs=0.5)


def test_no_sample_of_a_truncated_file_is_repeated(tmp_path: Path, rng: np.random.Generator) -> None:
    whole, part = tmp_path / "whole.flac", tmp_path / "part.flac"
    soundfile.write(whole, rng.uniform(-0.5, 0.5, 10 * RATE).astype(np.float32), RATE)
    part.write_bytes(whole.read_bytes()[:250_000])
    samples = decode(part, RATE).samples
    np.testing.assert_array_equal(samples[:-RATE], decode(whole, RATE).samples[: len(samples) - RATE])


def test_probe_reads_the_header(tmp_path: Path, tone: Tone) -> None:
    soundfile.write(tmp_path / "a.mp3", tone(4, rate=44_100), 44_100)
    header = probe(tmp_path / "a.mp3")
    assert (header.declared_seconds, header.sample_rate_hz, header.channels) == (4, 44_100, 1)
    header = probe(write_libav(tmp_path / "a.m4a", tone(4, rate=48_000), 48_000, "aac"))
    assert header.declared_seconds == pytest.approx(4, abs=0.1)
    assert (header.sample_rate_hz, header.channels) == (48_000, 2)


def test_unusable_files_are_refused(tmp_path: Path, tone: Tone, rng: np.random.Generator) -> None:
    path = tmp_path / "a.mp3"
    assert refusal(path) is Reason.UNREADABLE
    assert refusal(tmp_path) is Reason.UNREADABLE
    os.mkfifo(tmp_path / "pipe.mp3")
    assert refusal(tmp_path / "pipe.mp3") is Reason.UNREADABLE
    path.touch()
    assert refusal(path) is Reason.EMPTY
    path.write_text("this is a text\n" * 100)
    assert refusal(path) is Reason.UNSUPPORTED
    path.write_bytes(rng.bytes(100_000))
    assert refusal(path) is Reason.UNSUPPORTED
    path.write_bytes(bytes(100_000))
    assert refusal(path) is Reason.UNSUPPORTED


def test_empty_and_not_finite_audio_is_refused(tmp_path: Path, tone: Tone) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), RATE)
    assert refusal(path) is Reason.NO_AUDIO
    for wrong in (np.nan, np.inf):
        samples = tone(4)
        samples[0] = wrong
        soundfile.write(path, samples, RATE, subtype="FLOAT")
        assert refusal(path) is Reason.NOT_FINITE
    soundfile.write(path, np.stack([samples, -samples], axis=1), RATE, subtype="FLOAT")
    assert refusal(path) is Reason.NOT_FINITE


@pytest.mark.parametrize("rate", [1, 2_000_000])
def test_an_implausible_rate_is_damage(tmp_path: Path, tone: Tone, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4), rate)
    assert refusal(tmp_path / "a.wav") is Reason.DAMAGED


def test_an_unknown_coding_is_unsupported(tmp_path: Path, tone: Tone) -> None:
    path = tmp_path / "a.caf"
    soundfile.write(path, tone(4), RATE)
    path.write_bytes(path.read_bytes().replace(b"lpcm", b"xyzw"))
    assert refusal(path) is Reason.UNSUPPORTED


def test_a_video_without_sound_has_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        container.mux(stream.encode(None))
    assert refusal(path) is Reason.NO_AUDIO


def test_an_m4a_without_its_index_is_damaged(tmp_path: Path, tone: Tone) -> None:
    path = write_libav(tmp_path / "a.m4a", tone(5, rate=44_100), 44_100, "aac")
    path.write_bytes(path.read_bytes()[:-2_000])
    assert refusal(path) is Reason.DAMAGED


def test_a_playlist_does_not_lead_to_other_files(tmp_path: Path, tone: Tone) -> None:
    write_libav(tmp_path / "a.ts", tone(5, rate=44_100), 44_100, "aac")
    playlist = tmp_path / "a.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\na.ts\n#EXT-X-ENDLIST\n")
    assert decode(tmp_path / "a.ts", RATE).duration_seconds == pytest.approx(5, abs=0.1)
    assert refusal(playlist) is Reason.UNSUPPORTED
    playlist.write_text("ffconcat version 1.0\nfile a.ts\n")
    assert refusal(playlist) is Reason.UNSUPPORTED


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path, tone: Tone) -> None:
    soundfile.write(tmp_path / "a.wav", tone(4), RATE)
    (tmp_path / "a.wav").chmod(0)
    assert refusal(tmp_path / "a.wav") is Reason.UNREADABLE


def test_the_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(AudioError("a.mp3", Reason.SILENT, "is silent")))
    assert (error.path, error.reason, str(error)) == ("a.mp3", Reason.SILENT, "a.mp3: is silent")


def test_libav_writes_no_messages(tmp_path: Path, tone: Tone) -> None:
    path = write_libav(tmp_path / "a.m4a", tone(5, rate=44_100), 44_100, "aac", movflags="faststart")
    path.write_bytes(path.read_bytes()[:-20_000])
    program = f"from tumbao.components.ingest.waveform import AudioStream; list(AudioStream({str(path)!r}, {RATE}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""

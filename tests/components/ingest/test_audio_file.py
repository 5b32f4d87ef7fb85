"""Files with wrong headers, concatenated files and truncated files."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from tests.components.ingest.ogg import with_checksums
from tests.sounds import RATE, Waveform, decode, strongest_hz, write_libav
from tumbao.components.ingest import audio_file
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.audio_file import probe
from tumbao.components.ingest.bitstream import frame_bytes
from tumbao.components.ingest.decoders import AudioSegment, _scan
from tumbao.components.ingest.fragments import Fragment, Fragments, SongSummary, read, read_with_heartbeat
from tumbao.schema.mel_spec import MelSpec

CODECS = {
    "m4a": "aac",
    "aac": "aac",
    "webm": "libopus",
    "mkv": "flac",
    "opus": "libopus",
    "wma": "wmav2",
}
KINDS = ["mp3", "flac", "ogg", "opus", "wav", "aiff", "aac", "webm", "mkv"]
TONES_HZ = (440, 700, 1_100)
SECONDS = 2

Song = Callable[..., bytes]


@pytest.fixture
def song(tmp_path: Path, rng: np.random.Generator) -> Song:
    """Write a tone in soft noise: song(kind, hz, seconds, rate, channels) -> bytes."""

    def write(kind: str, hz: float = 440, seconds: float = SECONDS, rate: int = 44_100, channels: int = 2) -> bytes:
        path = tmp_path / f"original.{kind}"
        count = round(seconds * rate)
        samples = 0.4 * np.sin(2 * np.pi * hz * np.arange(count) / rate) + rng.uniform(-0.05, 0.05, count)
        if kind in CODECS:
            form = ("s16",) if kind == "mkv" else ("fltp",) if kind != "webm" and kind != "opus" else ()
            layout = "stereo" if channels == 2 else "mono"
            write_libav(path, samples.astype(np.float32), rate, CODECS[kind], *(form or ("",)), layout)
        else:
            soundfile.write(path, np.stack([samples] * channels, 1), rate)
        content = path.read_bytes()
        path.unlink()
        return content

    return write


def decoded(path: Path, content: bytes) -> Waveform:
    path.write_bytes(content)
    return decode(path, RATE)


def tones(waveform: Waveform) -> list[float]:
    """Return the strongest frequency of each piece."""
    pieces = round(waveform.duration_seconds / SECONDS)
    step = round(len(waveform.samples) / pieces)
    return [strongest_hz(waveform.samples[i * step + RATE // 4 : (i + 1) * step - RATE // 4]) for i in range(pieces)]


def streaminfo(content: bytes, bits: int, shift: int, value: int) -> bytes:
    """Replace a number in the header of a FLAC file."""
    start = content.index(b"fLaC") + 18
    number = int.from_bytes(content[start : start + 8], "big")
    number = number & ~(((1 << bits) - 1) << shift) | value << shift
    return content[:start] + number.to_bytes(8, "big") + content[start + 8 :]


def replaced(content: bytes, marker: bytes, offset: int, form: str, value: int) -> bytes:
    start = content.index(marker) + len(marker) + offset
    return content[:start] + struct.pack(form, value) + content[start + struct.calcsize(form) :]


def without_xing(mp3: bytes) -> bytes:
    assert b"Xing" in mp3[:200] or b"Info" in mp3[:200]
    return mp3[frame_bytes(mp3) :]


@pytest.mark.parametrize("samples", [0, 1, 2**36 - 1, 44_100 * 40])
def test_the_declared_length_of_a_flac_is_only_a_hint(tmp_path: Path, song: Song, samples: int) -> None:
    path = tmp_path / "a.flac"
    waveform = decoded(path, streaminfo(song("flac"), 36, 0, samples))
    assert (waveform.duration_seconds, waveform.truncated) == (SECONDS, False)
    declared = waveform.declared_seconds
    assert declared is None or declared <= 40
    json.dumps(declared, allow_nan=False)
    cut = decoded(path, path.read_bytes()[:-4_000])
    assert cut.truncated
    assert 1 < cut.duration_seconds < SECONDS


@pytest.mark.parametrize(("bits", "shift", "value"), [(20, 44, 48_000), (20, 44, 1), (20, 44, 655_350), (3, 41, 7)])
def test_a_flacs_frames_override_its_header(tmp_path: Path, song: Song, bits: int, shift: int, value: int) -> None:
    waveform = decoded(tmp_path / "a.flac", streaminfo(song("flac"), bits, shift, value))
    assert waveform.duration_seconds == SECONDS
    assert tones(waveform) == pytest.approx([440], abs=1)
    header = probe(tmp_path / "a.flac")
    assert (header.sample_rate_hz, header.channels) == (44_100, 2)


@pytest.mark.parametrize("size", [0, 1, 44_100, 0x7FFF_FFFF, 0xFFFF_FFFF, 0xFFFF_FF00])
@pytest.mark.parametrize(("kind", "marker", "form"), [("wav", b"data", "<I"), ("aiff", b"SSND", ">I")])
def test_the_declared_size_of_a_wav_or_aiff_is_only_a_hint(
    tmp_path: Path, song: Song, kind: str, marker: bytes, form: str, size: int
) -> None:
    waveform = decoded(tmp_path / f"a.{kind}", replaced(song(kind), marker, 0, form, size))
    assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.001)
    assert not waveform.truncated
    assert tones(waveform) == pytest.approx([440], abs=1)


@pytest.mark.parametrize("frames", [0, 1, 2**31, 2**32 - 1])
def test_the_declared_frames_of_an_aiff_are_only_a_hint(tmp_path: Path, song: Song, frames: int) -> None:
    waveform = decoded(tmp_path / "a.aiff", replaced(song("aiff"), b"COMM", 6, ">I", frames))
    assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.001)
    assert not waveform.truncated


@pytest.mark.parametrize(
    ("offset", "form", "value"), [(6, "<H", 255), (6, "<H", 1), (8, "<I", 1), (8, "<I", 2**31), (8, "<I", 48_000)]
)
def test_a_contradictory_number_in_a_wav_header_is_corrected(
    tmp_path: Path, song: Song, offset: int, form: str, value: int
) -> None:
    waveform = decoded(tmp_path / "a.wav", replaced(song("wav"), b"fmt ", offset, form, value))
    assert waveform.duration_seconds == SECONDS
    assert tones(waveform) == pytest.approx([440], abs=1)


def test_rf64_with_a_wrong_size(tmp_path: Path, song: Song) -> None:
    content = io.BytesIO()
    samples, _ = soundfile.read(io.BytesIO(song("wav")), always_2d=True)
    soundfile.write(content, samples, 44_100, format="RF64", subtype="PCM_16")
    path = tmp_path / "a.wav"
    assert decoded(path, content.getvalue()).duration_seconds == SECONDS
    for size in (0, 1_000, 2**62):
        wrong = replaced(content.getvalue(), b"ds64", 12, "<Q", size)
        waveform = decoded(path, wrong)
        assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.001)
    assert not waveform.truncated


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frames", [0, 20, 5_000, 2**32 - 1])
def test_the_declared_frames_of_an_mp3_are_only_a_hint(tmp_path: Path, song: Song, frames: int, channels: int) -> None:
    content = song("mp3", channels=channels)
    marker = b"Xing" if b"Xing" in content[:200] else b"Info"
    waveform = decoded(tmp_path / "a.mp3", replaced(content, marker, 4, ">I", frames))
    assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.08)
    assert not waveform.truncated


def loud_and_quiet(path: Path, rng: np.random.Generator, levels: tuple[float, ...]) -> bytes:
    samples = np.concatenate([level * rng.uniform(-1, 1, 44_100 * 5) for level in levels])
    with soundfile.SoundFile(path, "w", 44_100, 1, compression_level=0.3, bitrate_mode="VARIABLE") as file:
        for start in range(0, len(samples), 44_100):
            file.write(samples[start : start + 44_100])
    return without_xing(path.read_bytes())


@pytest.mark.parametrize("levels", [(0.5, 0.0002, 0.0002), (0.0002, 0.0002, 0.5)])
def test_a_vbr_mp3_without_a_header_is_decoded_to_its_end(
    tmp_path: Path, rng: np.random.Generator, levels: tuple[float, ...]
) -> None:
    path = tmp_path / "a.mp3"
    waveform = decoded(path, loud_and_quiet(path, rng, levels))
    assert waveform.duration_seconds == pytest.approx(15, abs=0.1)
    assert not waveform.truncated
    spec = MelSpec(fragment_seconds=2.0)
    fragments = Fragments(read(path, spec, 10.0, 14.0))  # beyond the length that is estimated from the first frames
    (first, second) = fragments
    begin = 10 * RATE
    np.testing.assert_allclose(first.samples, waveform.samples[begin : begin + spec.fragment_samples], atol=2e-6)
    assert (second.padded, fragments.ending.seconds, fragments.ending.truncated) == (False, 4, False)


@pytest.mark.parametrize("kind", [*KINDS, "m4a"])
def test_concatenated_files_are_all_decoded(tmp_path: Path, song: Song, kind: str) -> None:
    rate = 48_000 if kind in ("opus", "webm") else 44_100
    waveform = decoded(tmp_path / f"a.{kind}", b"".join(song(kind, hz, rate=rate) for hz in TONES_HZ))
    assert waveform.duration_seconds == pytest.approx(3 * SECONDS, abs=0.25)
    assert tones(waveform) == pytest.approx(TONES_HZ, abs=1)
    assert not waveform.truncated


@pytest.mark.parametrize("kind", ["mp3", "flac", "ogg", "wav", "m4a", "wma"])
def test_files_are_decoded_alike_without_their_descriptors(
    tmp_path: Path, song: Song, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = song(kind)
    by_descriptor = decoded(tmp_path / f"a.{kind}", content)
    monkeypatch.setattr(audio_file, "_BY_DESCRIPTOR", False)  # as on Windows
    by_view = decoded(tmp_path / f"a.{kind}", content)
    np.testing.assert_array_equal(by_view.samples, by_descriptor.samples)
    assert (by_view.declared_seconds, by_view.truncated) == (by_descriptor.declared_seconds, False)


@pytest.mark.parametrize("kind", ["mp3", "flac", "ogg", "wav", "aac", "m4a"])
def test_concatenated_files_may_differ_in_rate_and_channels(tmp_path: Path, song: Song, kind: str) -> None:
    pieces = [song(kind, 440), song(kind, 700, rate=32_000, channels=1), song(kind, 1_100, rate=48_000)]
    waveform = decoded(tmp_path / f"a.{kind}", b"".join(pieces))
    assert waveform.duration_seconds == pytest.approx(3 * SECONDS, abs=0.25)
    assert tones(waveform) == pytest.approx(TONES_HZ, abs=1)


def id3(size: int, rng: np.random.Generator) -> bytes:
    frame = b"APIC" + bytes(size >> 7 * shift & 0x7F for shift in (3, 2, 1, 0)) + b"\0\0"
    picture = b"\0image/jpeg\0\3\0\xff\xd8\xff"
    frame += picture + rng.bytes(size - len(picture))
    return b"ID3\4\0\0" + bytes(len(frame) >> 7 * shift & 0x7F for shift in (3, 2, 1, 0)) + frame


def ape(size: int, rng: np.random.Generator) -> bytes:
    item = struct.pack("<II", size, 2) + b"Cover Art (front)\0" + rng.bytes(size)
    edges = [b"APETAGEX" + struct.pack("<IIII", 2_000, len(item) + 32, 1, flag << 29) + bytes(8) for flag in (5, 4)]
    return edges[0] + item + edges[1]


def test_tags_around_mp3s_are_not_audio(tmp_path: Path, song: Song, rng: np.random.Generator) -> None:
    one, two = song("mp3", 440), song("mp3", 700)
    picture, id3v1 = id3(300_000, rng), b"TAG" + bytes(125)
    path = tmp_path / "a.mp3"
    for content in (picture + one + id3v1, ape(200_000, rng) + one, one + ape(200_000, rng) + id3v1):
        waveform = decoded(path, content)
        assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.06)
        assert not waveform.truncated
    waveform = decoded(path, picture + one + id3v1 + picture + two + id3v1)
    assert waveform.duration_seconds == pytest.approx(2 * SECONDS, abs=0.06)
    assert tones(waveform) == pytest.approx([440, 700], abs=1)
    assert not waveform.truncated


@pytest.mark.parametrize("kind", [*KINDS, "m4a", "wma", "caf"])
@pytest.mark.parametrize("junk", ["noise", "zeros", "text"])
def test_data_after_the_audio_does_not_make_it_truncated(
    tmp_path: Path, song: Song, rng: np.random.Generator, kind: str, junk: str
) -> None:
    behind = {"noise": rng.bytes(20_000), "zeros": bytes(20_000), "text": b"downloaded from\r\n" * 1_000}[junk]
    rate = 48_000 if kind in ("opus", "webm") else 44_100
    waveform = decoded(tmp_path / f"a.{kind}", song(kind, rate=rate) + behind)
    assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.1)
    assert not waveform.truncated


@pytest.mark.parametrize("kind", [*KINDS, "wma", "caf"])
def test_half_a_file_is_truncated(tmp_path: Path, song: Song, kind: str) -> None:
    rate = 48_000 if kind in ("opus", "webm") else 44_100
    content = song(kind, seconds=10, rate=rate)
    waveform = decoded(tmp_path / f"a.{kind}", content[: len(content) // 2 + 50])
    assert waveform.truncated
    assert 3.5 < waveform.duration_seconds < 6


def test_half_an_mp3_without_a_header_is_truncated(tmp_path: Path, song: Song) -> None:
    content = without_xing(song("mp3"))
    assert not decoded(tmp_path / "a.mp3", content).truncated
    assert decoded(tmp_path / "a.mp3", content[: len(content) // 2 + 5]).truncated


@pytest.mark.parametrize("kind", ["mp3", "flac", "ogg"])
def test_after_zeros_in_the_middle_decoding_continues(tmp_path: Path, song: Song, kind: str) -> None:
    content = song(kind, seconds=10)
    middle = len(content) // 2
    waveform = decoded(tmp_path / f"a.{kind}", content[:middle] + bytes(3_000) + content[middle + 3_000 :])
    assert 7 < waveform.duration_seconds <= 10.1
    assert not waveform.truncated
    assert strongest_hz(waveform.samples[-2 * RATE : -RATE]) == pytest.approx(440, abs=1)


@pytest.mark.parametrize("name", ["a.webm", "a.mkv"])
def test_a_live_stream_is_complete(tmp_path: Path, tone: Callable[..., np.ndarray], name: str) -> None:
    path = write_libav(tmp_path / name, tone(5, rate=48_000), 48_000, "libopus", live="1")
    waveform = decode(path, RATE)
    assert (waveform.declared_seconds, waveform.truncated) == (None, False)
    assert waveform.duration_seconds == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize(("box", "offset"), [(b"mdhd", 16), (b"mvhd", 16), (b"tkhd", 20)])
@pytest.mark.parametrize("duration", [0, 1, 2**31])
def test_the_declared_durations_of_an_m4a_are_only_hints(
    tmp_path: Path, song: Song, box: bytes, offset: int, duration: int
) -> None:
    waveform = decoded(tmp_path / "a.m4a", replaced(song("m4a"), box, offset, ">I", duration))
    assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.1)
    assert not waveform.truncated


@pytest.mark.parametrize(("seconds", "start"), [(0, 1_024), (4, 2**32 - 1)])
def test_an_edit_list_that_removes_everything_is_ignored(tmp_path: Path, song: Song, seconds: int, start: int) -> None:
    content = replaced(song("m4a"), b"elst", 8, ">I", 1_000 * seconds)
    waveform = decoded(tmp_path / "a.m4a", replaced(content, b"elst", 12, ">I", start))
    assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("kind", ["ogg", "opus"])
@pytest.mark.parametrize("samples", [0, 48_000, 2**40, 2**62])
def test_the_sample_count_of_an_ogg_page_is_only_a_hint(tmp_path: Path, song: Song, kind: str, samples: int) -> None:
    content = bytearray(song(kind, rate=48_000))
    last = content.rindex(b"OggS")
    content[last + 6 : last + 14] = samples.to_bytes(8, "little")
    waveform = decoded(tmp_path / "a.ogg", with_checksums(bytes(content)))
    assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.1)
    assert not waveform.truncated


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize("default", [0, 1])
def test_the_default_track_is_decoded(tmp_path: Path, name: str, default: int) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=44_100, layout="stereo") for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        for start in range(0, 5 * 44_100, 1_024):
            for stream, hz in zip(streams, TONES_HZ, strict=False):
                wave = 0.4 * np.sin(2 * np.pi * hz * np.arange(start, start + 1_024) / 44_100)
                frame = av.AudioFrame.from_ndarray(np.stack([wave] * 2).astype(np.float32), "fltp", "stereo")
                frame.sample_rate, frame.pts = 44_100, start
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    waveform = decode(path, RATE)
    assert strongest_hz(waveform.samples[RATE : 4 * RATE]) == pytest.approx(TONES_HZ[default], abs=1)
    header = probe(path)
    assert (header.audio_track, header.audio_tracks) == (default + 1, 2)


def test_255_channels_take_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 8_000, 255, subtype="PCM_U8") as file:
        for _ in range(10):
            file.write(np.tile(0.25 * np.sin(np.arange(4_000) / 3)[:, np.newaxis], 255))
    tracemalloc.start()
    waveform = decode(path, RATE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert waveform.duration_seconds == 5
    assert peak < 1e8


def test_an_oversized_box_of_an_m4a_is_ignored(tmp_path: Path, song: Song) -> None:
    for length in (2**63 - 1, 2**64 - 1):
        waveform = decoded(tmp_path / "a.m4a", song("m4a") + struct.pack(">I4sQ", 1, b"free", length) + bytes(50))
        assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.wv", "wavpack"), ("a.webm", "libopus")])
def test_eight_channels_are_decoded(tmp_path: Path, name: str, codec: str) -> None:
    path, rate = tmp_path / name, 48_000
    packed = np.repeat(0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * rate, dtype=np.float32) / rate), 8)[np.newaxis]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = "7.1", 512_000
        to_format = av.AudioResampler(stream.format, "7.1", rate)
        frame = av.AudioFrame.from_ndarray(packed, "flt", "7.1")
        frame.sample_rate = rate
        for converted in to_format.resample(frame):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
    assert probe(path).channels == 8
    waveform = decode(path, RATE)
    assert waveform.duration_seconds == pytest.approx(2, abs=0.1)
    assert strongest_hz(waveform.samples) == pytest.approx(440, abs=1)


def test_tags_that_are_not_utf8_are_accepted(tmp_path: Path, song: Song) -> None:
    content = song("m4a")
    assert b"Lavf" in content
    waveform = decoded(tmp_path / "a.m4a", content.replace(b"Lavf", b"\xff\xfe\xe9\xe8"))
    assert waveform.duration_seconds == pytest.approx(SECONDS, abs=0.1)


def scanned_seconds(path: Path, start: float = 0.0, end: float | None = None) -> float:
    (found,) = [item for item in _scan(AudioSegment(str(path), start, end), MelSpec()) if item is not None]
    return found.seconds


def test_a_parts_length_is_that_of_the_decoded_audio(tmp_path: Path, song: Song) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join(song("mp3", hz) for hz in TONES_HZ))
    assert probe(path).declared_seconds == pytest.approx(SECONDS, abs=0.01)
    assert scanned_seconds(path, 1, 5) == 4
    assert scanned_seconds(path, 1, 60) == pytest.approx(5, abs=0.06)
    assert scanned_seconds(path, 1) == pytest.approx(5, abs=0.06)
    spec = MelSpec(fragment_seconds=1.5)
    pieces = [item for item in read(path, spec, 2.3, 5.4) if isinstance(item, Fragment)]
    assert strongest_hz(pieces[0].samples) == pytest.approx(700, abs=1)
    with pytest.raises(AudioError, match=r"holds no samples after 20.0 s: it ends at 6.0 s"):
        scanned_seconds(path, 20, 24)


@pytest.mark.parametrize("samples", [0, 2**36 - 1])
def test_an_implausible_length_is_measured_by_decoding(tmp_path: Path, song: Song, samples: int) -> None:
    path = tmp_path / "a.flac"
    path.write_bytes(streaminfo(song("flac", seconds=4), 36, 0, samples))
    assert scanned_seconds(path) == 4


def test_a_long_skip_yields_none_items(tmp_path: Path, song: Song) -> None:
    path = tmp_path / "a.aac"
    path.write_bytes(100 * song("aac"))
    items = list(read_with_heartbeat(path, MelSpec(), 190.0))
    assert items[:3] == [None] * 3
    assert isinstance(items[-1], SongSummary)

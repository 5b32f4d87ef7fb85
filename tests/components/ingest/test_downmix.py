"""The mix keeps channels that cancel each other, is the mean for ordinary music, and is the same in all ports."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.sounds import decode, write_libav
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.audio_file import Block, open_audio
from tumbao.components.ingest.downmix import channel_weights, downmix
from tumbao.components.ingest.fragments import Fragment, read
from tumbao.components.ingest.waveform import AudioStream
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving import resample_reference

RATE = 8_000
WEB = Path(resample_reference.__file__).parent / "web"


def music(seconds: float = 6.3, seed: int = 0) -> np.ndarray:
    """Make two channels of noise in bands, alike as those of music are: float32 [2, n]."""
    rng = np.random.default_rng(seed)
    middle, side = (np.convolve(rng.standard_normal(round(seconds * RATE)), np.hanning(9), "same") for _ in range(2))
    return (0.05 * np.stack([middle + 0.4 * side, middle - 0.4 * side])).astype(np.float32)


def phase_shifted(samples: np.ndarray, degrees: float) -> np.ndarray:
    spectrum = np.fft.rfft(samples) * np.exp(1j * np.radians(degrees))
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def mixed(channels: np.ndarray, size: int = 1_000) -> np.ndarray:
    blocks = (Block(channels[:, start : start + size], RATE) for start in range(0, channels.shape[1], size))
    return np.concatenate([mono for mono, _ in downmix(blocks)])


def inverted_from(channels: np.ndarray, seconds: float) -> np.ndarray:
    channels = channels.copy()
    channels[1, round(seconds * RATE) :] *= -1
    return channels


LEFT, RIGHT = music()
CASES = {
    "mono": np.stack([LEFT]),
    "stereo": music(),
    "mono in two channels": np.stack([LEFT, LEFT]),
    "one channel alone": np.stack([LEFT, 0 * LEFT]),
    "inverted": np.stack([LEFT, -LEFT]),
    "inverted at 98 %": np.stack([LEFT, -0.98 * LEFT]),
    "inverted stereo": np.stack([LEFT, -RIGHT]),
    "inverted for a part": inverted_from(music(), 3.4),
    "shifted by 160°": np.stack([LEFT, phase_shifted(LEFT, 160)]),
    "shifted by 90°": np.stack([LEFT, phase_shifted(LEFT, 90)]),
    "on an offset": music() * 0.01 + np.float32(0.7),
    "on two offsets, inverted": np.stack([LEFT + 0.5, 0.2 - LEFT]),
    "a constant": np.full((2, 20_000), 0.3, np.float32),
    "silence": np.zeros((2, 20_000), np.float32),
    "three channels": np.stack([LEFT, RIGHT, 0.5 * LEFT]),
    "5.1 with the voice in the centre": np.stack([0 * LEFT, 0 * LEFT, LEFT, RIGHT, 0 * LEFT, 0 * LEFT]),
    "5.1 whose fronts cancel": np.stack([LEFT, -LEFT, 0.1 * RIGHT, RIGHT, 0 * LEFT, 0 * LEFT]),
    "12 channels": np.stack([*music(6.3, 1), *music(6.3, 2)] * 3),
    "shorter than a second": np.stack([LEFT, -LEFT])[:, :5_000],
}


@pytest.mark.parametrize("name", ["stereo", "mono in two channels", "one channel alone", "mono", "shifted by 90°"])
def test_the_mix_of_ordinary_music_is_exactly_the_mean(name: str) -> None:
    channels = CASES[name]
    np.testing.assert_array_equal(mixed(channels), sum(channels) / np.float32(len(channels)))


@pytest.mark.parametrize("name", [name for name in CASES if "inverted" in name or "160" in name or "cancel" in name])
def test_the_mix_keeps_the_power_of_channels_that_cancel(name: str) -> None:
    channels = CASES[name] - CASES[name].mean(axis=1, keepdims=True)
    weights = channel_weights(len(channels))
    power = (weights**2) @ (channels**2).mean(axis=1)
    assert (mixed(channels) ** 2).mean() > 0.9 * power
    assert (mixed(channels)[:RATE] ** 2).mean() > 0.9 * power


def test_an_inverted_recording_gives_the_same_mix() -> None:
    np.testing.assert_array_equal(mixed(np.stack([LEFT, -RIGHT])), mixed(np.stack([LEFT, RIGHT])))


def test_a_change_of_the_mix_is_cross_faded() -> None:
    low = np.sin(2 * np.pi * 50 * np.arange(6 * RATE) / RATE).astype(np.float32)
    mono = mixed(inverted_from(np.stack([low, 0.6 * low]), 3))
    assert np.abs(np.diff(mono)).max() < 1.2 * np.abs(np.diff(low)).max()
    np.testing.assert_allclose(mono[3 * RATE + 400 :], 0.8 * low[3 * RATE + 400 :], atol=1e-6)


def test_parts_of_other_channels_or_rates_are_mixed_separately() -> None:
    stereo, mono, six = (CASES[name] for name in ("inverted", "mono", "5.1 with the voice in the centre"))
    blocks = [Block(stereo, RATE), Block(mono, RATE), Block(mono, 11_025), Block(six, 11_025), Block(stereo, RATE)]
    found = list(downmix(iter(blocks)))
    alone = [part for block in blocks for part in downmix(iter([block]))]
    assert [rate for _, rate in found] == [rate for _, rate in alone]
    for (ours, _), (theirs, _) in zip(found, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("size", [1, 999, RATE, 3 * RATE + 1])
def test_the_mix_does_not_depend_on_the_blocks(size: int) -> None:
    channels = CASES["inverted for a part"][:, : 3 * RATE if size == 1 else None]
    np.testing.assert_array_equal(mixed(channels, size), mixed(channels, 5 * RATE))


def test_weights_of_channels() -> None:
    weights = channel_weights(6)
    assert weights[3] == 0
    assert weights[2] > weights[0] == weights[1] > weights[4] == weights[5] > 0
    assert channel_weights(3, ("FL", "FR", "LFE")).tolist() == [0.5, 0.5, 0]
    assert channel_weights(3, ("FL", "FR", "unknown")).tolist() == [1 / 3] * 3
    assert channel_weights(12).tolist() == [1 / 12] * 12
    assert channel_weights(12, ["FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR", "TFL", "TFR", "TBL", "TBR"])[3] == 0
    assert channel_weights(1, ("LFE",)).tolist() == [1]


@pytest.mark.parametrize("name", CASES)
def test_the_reference_port_gives_the_same_mix(name: str) -> None:
    np.testing.assert_allclose(resample_reference.mix(CASES[name].T, RATE), mixed(CASES[name]), atol=1e-6)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")
def test_the_page_gives_the_same_mix(tmp_path: Path) -> None:
    (tmp_path / "audio.mjs").write_bytes((WEB / "audio.js").read_bytes())
    for number, channels in enumerate(CASES.values()):
        channels.tofile(tmp_path / f"{number}.f32")
    program = f"""
        import {{ readFileSync, writeFileSync }} from "node:fs";
        import {{ mix }} from "./audio.mjs";
        {json.dumps([len(channels) for channels in CASES.values()])}.forEach((count, number) => {{
            const bytes = readFileSync(`${{number}}.f32`);
            const all = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
            const size = all.length / count;
            const channels = Array.from({{ length: count }}, (_, at) => all.slice(at * size, (at + 1) * size));
            writeFileSync(`${{number}}.mono`, mix(channels, {RATE}));
        }});
    """
    (tmp_path / "run.mjs").write_text(program)
    subprocess.run(["node", "run.mjs"], cwd=tmp_path, check=True, timeout=120)
    for number, channels in enumerate(CASES.values()):
        ours = np.fromfile(tmp_path / f"{number}.mono", np.float32)
        np.testing.assert_allclose(ours, mixed(channels), atol=1e-6)


def speakers_of(path: Path) -> str:
    with open_audio(path) as file:
        return " ".join(next(file.blocks()).speakers)


def test_speakers_are_read_from_files(tmp_path: Path) -> None:
    six = np.zeros((RATE, 6), np.float32)
    soundfile.write(tmp_path / "a.ogg", six, RATE)
    assert speakers_of(tmp_path / "a.ogg") == "FL FC FR BL BR LFE"
    write_libav(tmp_path / "a.m4a", LEFT, RATE, "aac", "fltp", "5.1")
    assert speakers_of(tmp_path / "a.m4a") == "FL FR FC LFE BL BR"
    soundfile.write(tmp_path / "a.wav", six, RATE)
    assert speakers_of(tmp_path / "a.wav") == ""
    soundfile.write(tmp_path / "a.wav", six[:, :3], RATE, format="WAVEX")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    struct.pack_into("<I", content, content.index(b"fmt ") + 28, 0b1011)
    (tmp_path / "a.wav").write_bytes(content)
    assert speakers_of(tmp_path / "a.wav") == "FL FR LFE"


@pytest.mark.parametrize(("name", "low"), [("a.wav", 3), ("a.flac", 3), ("a.ogg", 5)])
def test_the_low_frequency_channel_of_a_file_is_not_mixed(tmp_path: Path, name: str, low: int) -> None:
    channels = np.zeros((4 * RATE, 6), np.float32)
    channels[:, low] = np.resize([0.9, 0.9, -0.9, -0.9], len(channels))
    channels[:, 0] = 0.05 * music(4)[0]
    soundfile.write(tmp_path / name, channels, RATE)
    assert np.abs(decode(tmp_path / name, RATE).samples).max() < 0.02


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_a_part_has_the_mix_of_the_whole_file(tmp_path: Path, name: str) -> None:
    rate = 44_100 if name.endswith("mp3") else RATE
    soundfile.write(tmp_path / name, np.tile(CASES["inverted for a part"], 4).T, rate)
    whole = decode(tmp_path / name, rate).samples
    for start in (2.3, 4.05) if name.endswith("mp3") else (3.02, 4.01, 9.98, 24.7):
        part = np.concatenate(list(AudioStream(tmp_path / name, rate, start)))
        np.testing.assert_allclose(part, whole[round(start * rate) :], atol=2e-6)


def test_a_constant_offset_is_removed(tmp_path: Path) -> None:
    spec = MelSpec(sample_rate_hz=RATE, fragment_seconds=3.0, mel_max_hz=RATE / 2)
    path = tmp_path / "a.wav"
    for rate in (RATE, 11_025):
        soundfile.write(path, np.full((4 * rate, 2), 0.4), rate)
        with pytest.raises(AudioError) as caught:
            list(read(path, spec))
        assert caught.value.reason is Reason.SILENT
    quiet = 0.01 * music()
    soundfile.write(path, quiet.T + 0.5, RATE, subtype="FLOAT")
    fragments = [item.samples for item in read(path, spec) if isinstance(item, Fragment)]
    expected = quiet.mean(axis=0)[: len(fragments) * spec.fragment_samples]
    np.testing.assert_allclose(np.concatenate(fragments), expected, atol=5e-5)

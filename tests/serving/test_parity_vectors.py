from __future__ import annotations

import json
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soxr

from tests.serving.small_network import EDGE_SPEC, NAMES
from tumbao.components.ingest.fragments import Fragment, read
from tumbao.serving.model_info import AUDIO_FILE, CLASSIFIER_FILES, EDGE_FOLDER, ONNX_FILE
from tumbao.serving.parity_vectors import write_vectors
from tumbao.serving.resample_reference import SILENCE, fragments, resample

RATE = 22_050


@pytest.fixture(scope="module")
def vectors(edge_files: Path) -> Path:
    write_vectors(edge_files, EDGE_SPEC, NAMES)
    return edge_files / EDGE_FOLDER


@pytest.fixture(scope="module")
def port(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The output of a correct port: the reference's waveform, and the vectors' image and probabilities."""
    folder = tmp_path_factory.mktemp("port")
    command = [sys.executable, str(vectors / "reference.py"), str(vectors / "input.wav"), str(folder / "mine.f32")]
    subprocess.run(command, check=True)
    (folder / "mine.rgb").write_bytes((vectors / "image.rgb").read_bytes())
    expected = json.loads((vectors / "expected.json").read_text())
    (folder / "mine.json").write_text(json.dumps(expected["probabilities"]))
    return {"waveform": folder / "mine.f32", "image": folder / "mine.rgb", "probabilities": folder / "mine.json"}


def check(vectors: Path, **files: Path) -> tuple[int, str]:
    arguments = [text for name, path in files.items() for text in (f"--{name}", str(path))]
    done = subprocess.run(
        [sys.executable, str(vectors / "check.py"), *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def noise(seconds: float, rate: int) -> np.ndarray:
    return np.random.default_rng(rate).uniform(-0.5, 0.5, round(seconds * rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [44_100, 22_050, 11_025])
@pytest.mark.parametrize("seconds", [0.1, 1.00003])
def test_the_reference_resamples_as_soxr(rate: int, seconds: float) -> None:
    expected = soxr.resample(noise(seconds, rate), rate, RATE, quality="HQ")
    np.testing.assert_allclose(resample(noise(seconds, rate), rate, RATE), expected, atol=2e-6)


@pytest.mark.parametrize("rate", [48_000, 32_000, 96_000, 16_000, 8_000])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_at_other_rates_the_reference_equals_soxr_below_ninety_percent_of_the_band(rate: int, share: float) -> None:
    hz = share / 2 * min(rate, RATE)
    samples = (0.5 * np.sin(2 * np.pi * hz * np.arange(rate) / rate)).astype(np.float32)
    expected = soxr.resample(samples, rate, RATE, quality="HQ")
    ours = resample(samples, rate, RATE)
    assert len(ours) == len(expected)
    middle = slice(2_000, -2_000)  # where it begins and ends, the tone holds all frequencies
    np.testing.assert_allclose(ours[middle], expected[middle], atol=1e-3)


def test_the_reference_cuts_as_ingest(tmp_path: Path) -> None:
    """Two fragments and a tail; the second is silent, the first exceeds full scale when it is resampled."""
    loud = np.sign(np.sin(2 * np.pi * 300 * np.arange(4 * 44_100) / 44_100))
    channels = np.stack([np.concatenate([loud, np.zeros(9 * 44_100)])] * 2, axis=1)
    song = tmp_path / "song.wav"
    with wave.open(str(song), "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes((32_767 * channels).astype("<i2").tobytes())
    samples = (32_767 * channels).astype("<i2").astype(np.float32) / 32_768
    ours = list(fragments(samples, 44_100, EDGE_SPEC.sample_rate_hz, EDGE_SPEC.fragment_samples))
    theirs = [one for one in read(song, EDGE_SPEC) if isinstance(one, Fragment) and not one.silent]
    assert len(ours) == len(theirs) == 1
    assert np.abs(ours[0]).max() == 1
    assert np.abs(resample(samples.mean(axis=1), 44_100, EDGE_SPEC.sample_rate_hz)).max() > 1 > SILENCE
    np.testing.assert_allclose(ours[0], theirs[0].samples, atol=1e-5)


def test_a_correct_port_passes(vectors: Path, port: dict[str, Path]) -> None:
    status, output = check(vectors, **port)
    assert (status, output.count("ok "), "WRONG" in output) == (0, 8, False)
    expected = json.loads((vectors / "expected.json").read_text())["probabilities"]
    assert expected.keys() == {AUDIO_FILE, ONNX_FILE, *CLASSIFIER_FILES.values()}
    assert expected[AUDIO_FILE] == expected[CLASSIFIER_FILES["int8"]]
    np.testing.assert_allclose(expected[ONNX_FILE], expected[CLASSIFIER_FILES["float16"]], atol=0.01)


def test_a_wrong_port_fails(vectors: Path, port: dict[str, Path], tmp_path: Path) -> None:
    left = np.fromfile(port["waveform"], "<f4")
    left[1_000] += 0.001
    left.tofile(tmp_path / "waveform")
    image = np.fromfile(port["image"], np.uint8).reshape(EDGE_SPEC.image_shape)
    image[::-1].tofile(tmp_path / "image")
    (tmp_path / "answers").write_text(json.dumps({AUDIO_FILE: [1.0, 0, 0]}))
    status, output = check(
        vectors, waveform=tmp_path / "waveform", image=tmp_path / "image", probabilities=tmp_path / "answers"
    )
    assert (status, output.count("WRONG")) == (1, 4)

"""Test vectors for ports: a synthesised song, its intermediate results, and the output of every exported file."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tumbao.components.ingest.fragments import Fragments, read
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving import edge_check, resample_reference
from tumbao.serving.model_info import AUDIO_FILE, CLASSIFIER_FILES, EDGE_FOLDER, FRONTEND_FILE, ONNX_FILE
from tumbao.serving.onnx_export import onnx_runner

SECONDS = 4
RATE_HZ = 44_100
_THREADS = 2

TOLERANCES = {"waveform": 1e-5, "image_colour": 8, "image_pixels": 1e-3, "probability": 0.05}
"""Accepted differences of a port from the vectors."""


def write_vectors(assets: Path, spec: MelSpec, genres: tuple[str, ...]) -> None:
    """Write `EDGE_FOLDER`: the vectors, `reference.py`, which computes them, and `check.py`, which compares."""
    folder = assets / EDGE_FOLDER
    folder.mkdir()
    for module, name in ((resample_reference, "reference.py"), (edge_check, "check.py")):
        (folder / name).write_bytes(Path(str(module.__file__)).read_bytes())
    song = folder / "input.wav"
    _write_wav(song)
    fragments = Fragments(read(song, spec))
    (fragment,) = fragments
    waveform = fragment.samples[np.newaxis]
    image = _answer(assets / FRONTEND_FILE, waveform=waveform)["image"]
    answers = {AUDIO_FILE: _answer(assets / AUDIO_FILE, waveform=waveform)}
    answers |= {
        name: _answer(assets / name, image=image) for name in CLASSIFIER_FILES.values() if (assets / name).exists()
    }
    if (assets / ONNX_FILE).exists():
        answers[ONNX_FILE] = onnx_runner((assets / ONNX_FILE).read_bytes(), _THREADS)(waveform=waveform)
    played = round(fragments.ending.seconds * spec.sample_rate_hz)  # the rest repeats it
    waveform[0, :played].astype("<f4").tofile(folder / "waveform.f32")
    image.tofile(folder / "image.rgb")
    expected = {
        "input": {"file": song.name, "sample_rate_hz": RATE_HZ, "channels": 2, "seconds": SECONDS},
        "waveform": {
            "file": "waveform.f32",
            "type": "float32, little-endian",
            "shape": list(waveform.shape),
            "sample_rate_hz": spec.sample_rate_hz,
        },
        "image": {"file": "image.rgb", "type": "uint8", "shape": list(image.shape)},
        "genres": genres,
        "probabilities": {name: answer["probabilities"][0].tolist() for name, answer in answers.items()},
        "tolerances": TOLERANCES,
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


def _write_wav(path: Path) -> None:
    """Write a rising tone on the left, to 16 kHz, chords and a beat on the right; in a second the channels cancel."""
    time = np.arange(SECONDS * RATE_HZ) / RATE_HZ
    rising = 0.5 * np.sin(2 * np.pi * (100 + 2_000 * time) * time)  # 100 Hz to 16.1 kHz
    chord = sum(np.sin(2 * np.pi * hz * time) for hz in (220.0, 277.2, 329.6)) / 6
    beat = np.random.default_rng(0).uniform(-0.4, 0.4, len(time)) * np.exp(-20 * (time % 0.5))
    channels = np.stack([rising, chord + beat], axis=1)
    third = slice(2 * RATE_HZ, 3 * RATE_HZ)
    channels[third, 1] = 0.4 - 0.95 * channels[third, 0]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((32_767 * channels).round().astype("<i2").tobytes())


def _answer(file: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return Interpreter(model_path=str(file), num_threads=_THREADS).get_signature_runner()(**inputs)

"""Fixtures of all tests: random numbers, tones, a pushed model of two operations, worker processes that stay."""

from __future__ import annotations

import functools
import hashlib
import types
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.small_spec import SMALL
from tumbao.components.ingest import library
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.genres import GENRES
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.model_info import (
    ASSETS_FOLDER,
    CLASSIFIER_FILES,
    FRONTEND_FILE,
    ModelFile,
    ModelInfo,
    Split,
    TrainingData,
)

Tone = Callable[..., np.ndarray]
WriteSong = Callable[..., Path]

LONGEST = ("test_local_run.py", "test_distributed.py", "test_web_page.py", "test_compare.py", "test_ingest.py")
"""Files of tests that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that parallel processes end at about the same time."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20_240_517)


@pytest.fixture(scope="session")
def tone() -> Tone:
    """Make a sine: tone(seconds, hz=440, rate=22_050) -> float32 [n], peak 0.5."""

    def make(seconds: float, hz: float = 440.0, rate: int = 22_050) -> np.ndarray:
        return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Push a tiny model to a folder: a mean amplitude above 0.2 is salsa, below is bachata.

    The more it differs, the more probable; the distance is ten times the amplitude.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own
        import tensorflow as tf
    spec = MelSpec()
    image_spec = tf.TensorSpec([1, *spec.image_shape], tf.uint8, name="image")
    waveform_spec = tf.TensorSpec([1, spec.fragment_samples], tf.float32, name="waveform")

    def frontend(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        level = tf.cast(255 * tf.reduce_mean(tf.abs(waveform)), tf.uint8)
        return {"image": tf.fill([1, *spec.image_shape], level)}

    def classifier(image: tf.Tensor) -> dict[str, tf.Tensor]:
        loudness = tf.cast(image[:, 0, 0, :1], tf.float32) / 255
        shares = tf.nn.softmax(10 * (loudness - 0.2) * tf.constant([[-1.0, 0, 0, 1, 0]]))
        return {"probabilities": shares, "distance": 10 * loudness[:, 0]}

    root = tmp_path_factory.mktemp("pushed")
    assets = root / "1" / ASSETS_FOLDER
    assets.mkdir(parents=True)
    (root / "1" / "saved_model.pb").touch()
    files = {}
    for key, name, function, signature in [
        ("frontend", FRONTEND_FILE, frontend, waveform_spec),
        ("int8", CLASSIFIER_FILES["int8"], classifier, image_spec),
    ]:
        module, saved = tf.Module(), str(tmp_path_factory.mktemp("saved"))
        module.function = tf.function(function, input_signature=[signature])
        tf.saved_model.save(module, saved, signatures={signature.name: module.function})
        content = tf.lite.TFLiteConverter.from_saved_model(saved, signature_keys=[signature.name]).convert()
        (assets / name).write_bytes(content)
        files[key] = ModelFile(name, len(content), hashlib.sha256(content).hexdigest(), key)
    ModelInfo(
        created="2026-05-04T03:02:01Z",
        genres=GENRES,
        mel=spec,
        training_data=TrainingData(True, "tiny", "0" * 64, {"train": 3}, {"train": 9}),
        split=Split("song", False, 7),
        metrics={"test_accuracy": 1.0},
        files=files,
        versions={"tumbao": "0.1.0"},
    ).write(assets)
    return root


@pytest.fixture(scope="session")
def small_spec() -> MelSpec:
    """Fragments of 4 s at 8 kHz, images of 32×40."""
    return SMALL


@pytest.fixture(scope="session")
def write_song() -> WriteSong:
    """Write noise that no other path has: write_song(path, seconds, gain=0.5) -> path; folders are made."""

    def write(path: Path, seconds: float, gain: float = 0.5) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(zlib.crc32(str(path).encode())).uniform(-1, 1, round(8_000 * seconds))
        soundfile.write(path, gain * noise, 8_000, format="WAV")
        return path

    return write


@pytest.fixture(scope="module")
def scan_in_process() -> Iterator[None]:
    """Scan libraries without worker processes, whose start takes much longer than a scan."""

    class InProcess(WorkerPool):
        def run(self, function: Any, *arguments: Any) -> Any:
            yield from (item for item in function(*arguments) if item is not None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "WorkerPool", InProcess)
        yield


@functools.cache
def _render_pool(initializer: str, spec: MelSpec) -> WorkerPool:
    return WorkerPool(initializer=initializer, initargs=[spec])


@pytest.fixture(scope="module")
def shared_render_workers() -> Iterator[None]:
    """Render songs of all tests in the same worker processes, which take seconds to import TensorFlow."""
    from tumbao.components.ingest import render

    def pool(initializer: str, initargs: Sequence[MelSpec]) -> Any:
        return types.SimpleNamespace(run=_render_pool(initializer, *initargs).run, close=lambda: None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "WorkerPool", pool)
        yield

"""Records of random features, and an empty package index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.records import to_example, to_feature_example
from tumbao.trainer import fit

WriteFeatures = Callable[[Path, Sequence[int], tuple[int, int, int]], str]


@pytest.fixture(scope="session")
def write_features() -> WriteFeatures:
    """Write write_features(file, labels, shape) -> pattern; features are noise around the label, in float16."""

    def write(file: Path, labels: Sequence[int], shape: tuple[int, int, int]) -> str:
        rng = np.random.default_rng(len(labels))
        with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
            for index, label in enumerate(labels):
                example = to_example(
                    b"", label=label, genre=f"g{label}", song=f"s{index}", fragment=0, start_seconds=0.0, padded=False
                )
                features = label + 0.5 * rng.random(shape)
                writer.write(to_feature_example(example, features).SerializeToString())
        return str(file)

    return write


@pytest.fixture
def empty_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip search an empty folder only, and empty all caches; returns the folder."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(scope="package", autouse=True)
def fused_layers() -> Iterator[set[type]]:
    """Train small heads without XLA, whose compilation takes seconds; returns the layers that use it."""
    with pytest.MonkeyPatch.context() as patch:
        fused = fit._FUSED
        patch.setattr(fit, "_FUSED", set())
        yield fused

"""Records of features, made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.records import to_example, to_feature_example

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

"""What calibrates the full-integer model: images of all genres in turn, however the records are ordered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.export import CALIBRATION_IMAGES
from tumbao.components.images import spread
from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import to_example, to_png
from tumbao.schema.mel_spec import MelSpec

COLOURS = palette(MelSpec())


def write(file: Path, labels: Sequence[int]) -> None:
    """Write a record for each label; its image is of one colour, 10 × label + its number among those of the label."""
    seen: dict[int, int] = {}
    with tf.io.TFRecordWriter(str(file), "GZIP") as writer:
        for label in labels:
            level = 10 * label + seen.setdefault(label, 0)
            seen[label] += 1
            png = to_png(np.full((4, 5), level), COLOURS)
            example = to_example(png, label=label, genre="g", song="s", fragment=level, start_seconds=0.0, padded=False)
            writer.write(example.SerializeToString())


@pytest.mark.parametrize(
    ("labels", "count", "levels"),
    [
        ([0, 0, 0, 1, 1, 1, 2, 2, 2], 6, [0, 10, 20, 1, 11, 21]),
        ([0, 0, 0, 0, 1, 2, 2], 6, [0, 10, 20, 1, 21, 2]),
        ([2, 0], 110, [20, 0]),
    ],
    ids=["all have enough", "some run out", "fewer than asked"],
)
def test_genres_take_turns(tmp_path: Path, labels: list[int], count: int, levels: list[int]) -> None:
    write(tmp_path / "data.gz", labels)
    images = spread(str(tmp_path / "*.gz"), count)
    assert (images.dtype, images.shape) == (np.uint8, (len(levels), 4, 5, 3))
    np.testing.assert_array_equal(images[:, 0, 0], COLOURS[levels])


def test_calibration_sees_more_than_a_hundred_images() -> None:
    assert CALIBRATION_IMAGES >= 100

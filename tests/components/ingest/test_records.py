"""Records are read as they were written."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import (
    first_of_each,
    parse_features,
    parse_images,
    read_records,
    spread,
    to_example,
    to_feature_example,
    to_png,
)
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec

PALETTE = palette(MelSpec())


@pytest.fixture
def levels(rng: np.random.Generator) -> np.ndarray:
    """Every level once at least: [300, 300]."""
    image = rng.integers(0, 256, (300, 300), dtype=np.int32)
    image[0, :256] = np.arange(256)
    return image


def example(levels: np.ndarray) -> tf.train.Example:
    return to_example(
        to_png(levels, PALETTE),
        label=3,
        genre="salsa",
        song="salsa/El Niño, n.º 1.mp3",
        fragment=2,
        start_seconds=60.0,
        padded=True,
    )


def test_a_png_is_a_palette_image(levels: np.ndarray) -> None:
    with Image.open(io.BytesIO(to_png(levels, PALETTE))) as picture:
        assert picture.format == "PNG"
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), levels)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), PALETTE[levels])


def test_images_are_read_in_batches(levels: np.ndarray) -> None:
    both = tf.constant([example(image).SerializeToString() for image in (levels, 255 - levels)])
    images = parse_images(both)
    assert images.dtype == tf.uint8
    np.testing.assert_array_equal(images, PALETTE[np.stack([levels, 255 - levels])])


def test_backbone_features_are_read_in_float16(levels: np.ndarray, rng: np.random.Generator) -> None:
    output = rng.gamma(1.0, 50.0, (9, 9, 512)).astype(np.float32)
    featured = to_feature_example(example(levels), output)
    features, label = parse_features(tf.constant(featured.SerializeToString()), (9, 9, 512))
    assert label == 3
    assert features.dtype == tf.float32
    np.testing.assert_array_equal(features, output.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(features, output, rtol=2**-11, atol=2**-25)


def test_a_feature_record_replaces_the_image_in_a_copy(levels: np.ndarray) -> None:
    original = example(levels)
    featured = to_feature_example(original, np.zeros((9, 9, 512), np.float32))
    others = dict(original.features.feature)
    assert others.pop(record.IMAGE)
    added = dict(featured.features.feature)
    assert added.pop(record.BACKBONE)
    assert added == others


def image(level: int) -> np.ndarray:
    return np.full((4, 6), level, np.int32)


@pytest.fixture
def pattern(tmp_path: Path) -> str:
    """Nine records in two files; every image has a level of its own, the label is the level's tens."""
    levels = {"b-of-2": [20, 21], "a-of-2": [10, 11, 12, 13, 14, 15, 0]}
    options = tf.io.TFRecordOptions("GZIP")
    for name, members in levels.items():
        with tf.io.TFRecordWriter(str(tmp_path / f"{name}.gz"), options) as writer:
            for level in members:
                example = to_example(
                    to_png(image(level), PALETTE),
                    label=level // 10,
                    genre=("bachata", "cumbia", "salsa")[level // 10],
                    song=f"{level}.mp3",
                    fragment=level,
                    start_seconds=level / 2,
                    padded=level == 0,
                )
                writer.write(example.SerializeToString())
    return str(tmp_path / "*.gz")


def test_records_come_in_the_order_of_the_files(pattern: str) -> None:
    assert [features[record.FRAGMENT] for features in read_records(pattern)] == [10, 11, 12, 13, 14, 15, 0, 20, 21]


def test_spread_takes_images_of_all_genres_in_turn(pattern: str) -> None:
    images = spread(pattern, 6)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, [PALETTE[image(level)] for level in (10, 0, 20, 11, 21, 12)])
    assert len(spread(pattern, 100)) == 9


def test_the_first_image_of_each_genre_is_found(pattern: str) -> None:
    found = first_of_each(pattern, ("bachata", "cumbia", "merengue"))
    assert {genre: features[record.FRAGMENT] for genre, features in found.items()} == {"bachata": 0, "cumbia": 10}


def test_reading_stops_when_enough_is_read(pattern: str, tmp_path: Path) -> None:
    whole = {count: spread(pattern, count) for count in (3, 4, 5)}
    (tmp_path / "c-of-3.gz").write_bytes(b"no records")
    with pytest.raises(tf.errors.DataLossError):
        list(read_records(pattern))
    assert list(first_of_each(pattern, ("salsa", "cumbia", "bachata"))) == ["salsa", "cumbia", "bachata"]
    np.testing.assert_array_equal(spread(pattern, 3, genres=3), whole[3])
    (tmp_path / "c-of-3.gz").unlink()
    for count, images in whole.items():
        np.testing.assert_array_equal(spread(pattern, count, genres=3), images)

"""Records, read back for steps that look at images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tumbao.components.ingest.mel import palette
from tumbao.components.ingest.records import decode_image, first_of_each, read_records, spread, to_example, to_png
from tumbao.schema import record
from tumbao.schema.mel_spec import MelSpec

PALETTE = palette(MelSpec())


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


def test_every_feature_is_one_value(pattern: str) -> None:
    *_, last = read_records(pattern)
    png = last.pop(record.IMAGE)
    assert last == {
        record.LABEL: 2,
        record.GENRE: b"salsa",
        record.SONG: b"21.mp3",
        record.FRAGMENT: 21,
        record.START_SECONDS: 10.5,
        record.PADDED: 0,
    }
    np.testing.assert_array_equal(decode_image(png), PALETTE[image(21)])


def test_images_are_taken_from_all_genres_in_turn(pattern: str) -> None:
    images = spread(pattern, 6)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, [PALETTE[image(level)] for level in (10, 0, 20, 11, 21, 12)])


def test_no_more_images_are_given_than_there_are(pattern: str) -> None:
    assert len(spread(pattern, 100)) == 9


def test_the_first_image_of_each_genre_is_found(pattern: str) -> None:
    found = first_of_each(pattern, ("bachata", "cumbia", "merengue"))
    assert {genre: features[record.FRAGMENT] for genre, features in found.items()} == {"bachata": 0, "cumbia": 10}


def test_no_more_is_read_than_is_needed(pattern: str, tmp_path: Path) -> None:
    whole = {count: spread(pattern, count) for count in (3, 4, 5)}
    (tmp_path / "c-of-3.gz").write_bytes(b"no records")
    with pytest.raises(tf.errors.DataLossError):
        list(read_records(pattern))
    assert list(first_of_each(pattern, ("salsa", "cumbia", "bachata"))) == ["salsa", "cumbia", "bachata"]
    np.testing.assert_array_equal(spread(pattern, 3, genres=3), whole[3])
    (tmp_path / "c-of-3.gz").unlink()
    for count, images in whole.items():
        np.testing.assert_array_equal(spread(pattern, count, genres=3), images)

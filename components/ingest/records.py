"""Convert mel images and features to tf.Example and back."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tumbao.schema import record

BACKBONE_DTYPE = np.dtype("<f2")
"""Data type of the stored backbone output: float16, little-endian."""


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _float(value: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def to_png(levels: np.ndarray, colours: np.ndarray) -> bytes:
    """Encode palette indexes [height, width] in 0..255 as a PNG in the colours of a palette, uint8 [256, 3]."""
    image = Image.fromarray(levels.astype(np.uint8), mode="L")
    image.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def to_example(
    png: bytes, *, label: int, genre: str, song: str, fragment: int, start_seconds: float, padded: bool
) -> tf.train.Example:
    """Create the record of one fragment, with the features of `tumbao.schema.record`; `png` is from `to_png`."""
    features = {
        record.IMAGE: _bytes(png),
        record.LABEL: _int(label),
        record.GENRE: _bytes(genre.encode()),
        record.SONG: _bytes(song.encode()),
        record.FRAGMENT: _int(fragment),
        record.START_SECONDS: _float(start_seconds),
        record.PADDED: _int(int(padded)),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def to_feature_example(example: tf.train.Example, features: np.ndarray) -> tf.train.Example:
    """Replace the image of a record by the backbone's output, stored as float16."""
    result = tf.train.Example()
    result.CopyFrom(example)
    del result.features.feature[record.IMAGE]
    result.features.feature[record.BACKBONE].CopyFrom(_bytes(features.astype(BACKBONE_DTYPE).tobytes()))
    return result


def parse_images(serialized: tf.Tensor) -> tf.Tensor:
    """Decode the mel images of a batch of serialized records [n]: RGB, uint8 [n, height, width, 3]."""
    parsed = tf.io.parse_example(serialized, {record.IMAGE: tf.io.FixedLenFeature([], tf.string)})
    return tf.map_fn(
        lambda png: tf.io.decode_png(png, channels=3),
        parsed[record.IMAGE],
        fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
    )


def parse_features(serialized: tf.Tensor, shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode the backbone's output, float32 [*shape], and the label, int64 [], of one serialized record."""
    spec = {
        record.BACKBONE: tf.io.FixedLenFeature([], tf.string),
        record.LABEL: tf.io.FixedLenFeature([], tf.int64),
    }
    parsed = tf.io.parse_single_example(serialized, spec)
    raw = tf.io.decode_raw(parsed[record.BACKBONE], tf.float16)
    return tf.cast(tf.reshape(raw, shape), tf.float32), parsed[record.LABEL]


def read_records(pattern: str) -> Iterator[dict[str, Any]]:
    """Yield feature name → value (bytes, int or float) of every record of GZIP TFRecord files, in their order."""
    files = sorted(tf.io.gfile.glob(pattern))
    for serialized in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        yield {name: getattr(value, value.WhichOneof("kind")).value[0] for name, value in features.items()}


def decode_image(png: bytes) -> np.ndarray:
    """Decode the mel image of a record to RGB, uint8 [height, width, 3]."""
    return tf.io.decode_png(png, channels=3).numpy()


def first_of_each(pattern: str, genres: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Find the first record of each genre that has one, in the order of the genres."""
    found: dict[str, dict[str, Any]] = {}
    for features in read_records(pattern):
        found.setdefault(features[record.GENRE].decode(), features)
        if found.keys() >= set(genres):
            break
    return {genre: found[genre] for genre in genres if genre in found}


def decode_levels(png: bytes) -> np.ndarray:
    """Decode the mel image of a record to palette indexes, uint8 [height, width]."""
    return np.asarray(Image.open(io.BytesIO(png)))


def spread(pattern: str, count: int, genres: int = 0) -> np.ndarray:
    """Return the first images of all genres in turn, at most `count`: uint8 [n, height, width, 3].

    Reading can stop early if the number of genres is given.
    """
    by_genre: dict[int, list[bytes]] = {}
    for features in read_records(pattern):
        pngs = by_genre.setdefault(features[record.LABEL], [])
        if len(pngs) < count:
            pngs.append(features[record.IMAGE])
        if len(by_genre) == genres and min(map(len, by_genre.values())) * genres >= count:
            break
    turns = [pngs[turn] for turn in range(count) for pngs in by_genre.values() if turn < len(pngs)]
    return np.stack([decode_image(png) for png in turns[:count]])

"""Convert mel images and features to tf.Example and back."""

from __future__ import annotations

import io
import zlib

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
    """Encode palette indexes as a PNG that viewers show in colour.

    Parameters
    ----------
    levels : np.ndarray [shape=(height, width), dtype=int]
        Indexes in 0..255.
    colours : np.ndarray [shape=(256, 3), dtype=uint8]
        The palette.

    Returns
    -------
    png : bytes
        `tf.io.decode_png(png, channels=3)` returns ``colours[levels]``.
    """
    image = Image.fromarray(levels.astype(np.uint8), mode="L")
    image.putpalette(colours.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def to_example(
    png: bytes, *, label: int, genre: str, song: str, fragment: int, start_seconds: float, padded: bool
) -> tf.train.Example:
    """Create the record of one fragment.

    Parameters
    ----------
    png : bytes
        The mel image, see `to_png`.
    label : int
        Index of the genre in the run's list.
    genre : str
        Name of the genre.
    song : str
        Identifier of the song.
    fragment : int
        Index of the fragment in its song, from 0.
    start_seconds : float
        Start of the fragment, in seconds.
    padded : bool
        Whether silence was added to a short song.

    Returns
    -------
    example : tf.train.Example
        With the features of `tumbao.schema.record`.
    """
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
    """Replace the image of a record by the backbone's output.

    Parameters
    ----------
    example : tf.train.Example
        A record of `to_example`.
    features : np.ndarray
        The backbone's output, stored as float16.

    Returns
    -------
    example : tf.train.Example
        The same record with `record.BACKBONE` in place of `record.IMAGE`.
    """
    result = tf.train.Example()
    result.CopyFrom(example)
    del result.features.feature[record.IMAGE]
    result.features.feature[record.BACKBONE].CopyFrom(_bytes(features.astype(BACKBONE_DTYPE).tobytes()))
    return result


def parse_images(serialized: tf.Tensor) -> tf.Tensor:
    """Decode the mel images of a batch of records.

    Parameters
    ----------
    serialized : tf.Tensor of bytes [shape=(n,)]
        Serialized records; features other than the image may be missing.

    Returns
    -------
    images : tf.Tensor [shape=(n, height, width, 3), dtype=uint8]
        RGB in 0..255.
    """
    parsed = tf.io.parse_example(serialized, {record.IMAGE: tf.io.FixedLenFeature([], tf.string)})
    return tf.map_fn(
        lambda png: tf.io.decode_png(png, channels=3),
        parsed[record.IMAGE],
        fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
    )


def parse_features(serialized: tf.Tensor, shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode the backbone's output and the label of one record.

    Parameters
    ----------
    serialized : tf.Tensor of bytes [shape=()]
        One serialized record of `to_feature_example`.
    shape : tuple of int
        Shape of the backbone's output.

    Returns
    -------
    features : tf.Tensor [shape=shape, dtype=float32]
        The backbone's output.
    label : tf.Tensor [shape=(), dtype=int64]
        Index of the genre.
    """
    spec = {
        record.BACKBONE: tf.io.FixedLenFeature([], tf.string),
        record.LABEL: tf.io.FixedLenFeature([], tf.int64),
    }
    parsed = tf.io.parse_single_example(serialized, spec)
    raw = tf.io.decode_raw(parsed[record.BACKBONE], tf.float16)
    return tf.cast(tf.reshape(raw, shape), tf.float32), parsed[record.LABEL]

"""Read the records of ingest back, for steps that look at images."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tumbao.schema import record


def read_records(pattern: str) -> Iterator[dict[str, Any]]:
    """Yield feature name → value (bytes, int or float) of every record, in the order of the files.

    `pattern` is a glob pattern of GZIP TFRecord files.
    """
    files = sorted(tf.io.gfile.glob(pattern))
    for serialized in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        yield {name: getattr(value, value.WhichOneof("kind")).value[0] for name, value in features.items()}


def decode_image(png: bytes) -> np.ndarray:
    """Decode the mel image of a record to RGB, uint8 [height, width, 3]."""
    return tf.io.decode_png(png, channels=3).numpy()


def first_of_each(pattern: str, genres: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Find the first record of each genre, in the order of the genres; reading stops when all are found.

    Genres without a record are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for features in read_records(pattern):
        found.setdefault(features[record.GENRE].decode(), features)
        if found.keys() >= set(genres):
            break
    return {genre: found[genre] for genre in genres if genre in found}


def decode_levels(png: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Decode the mel image of a record to palette indexes, uint8 [height, width], and palette, uint8 [256, 3]."""
    image = Image.open(io.BytesIO(png))
    return np.asarray(image), np.array(image.getpalette(), np.uint8).reshape(-1, 3)


def spread(pattern: str, count: int, genres: int = 0) -> np.ndarray:
    """Return the first images of all genres in turn, at most `count`: uint8 [n, height, width, 3].

    `genres` is the number of genres, with which reading can stop early; 0 if it is not known.
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

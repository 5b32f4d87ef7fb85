"""Reading the records of ingest back, for steps that look at images."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from tumbao.schema import record


def read_records(pattern: str) -> Iterator[dict[str, Any]]:
    """Read the features of every record, in the order of the files.

    Parameters
    ----------
    pattern : str
        Glob pattern of GZIP TFRecord files.

    Yields
    ------
    features : dict
        Feature name → its one value: bytes, int or float.
    """
    files = sorted(tf.io.gfile.glob(pattern))
    for serialized in tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(serialized).features.feature
        yield {name: getattr(value, value.WhichOneof("kind")).value[0] for name, value in features.items()}


def decode_image(png: bytes) -> np.ndarray:
    """Decode the mel image of a record.

    Parameters
    ----------
    png : bytes
        Value of `record.IMAGE`.

    Returns
    -------
    image : np.ndarray [shape=(height, width, 3), dtype=uint8]
        RGB in 0..255.
    """
    return tf.io.decode_png(png, channels=3).numpy()


def first_of_each(pattern: str, genres: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Find the first record of each genre; reading stops when all are found.

    Parameters
    ----------
    pattern : str
        Glob pattern of GZIP TFRecord files.
    genres : sequence of str
        The genres to look for.

    Returns
    -------
    first : dict of str to dict
        Genre → features of its record, in the order of the genres; genres without a record are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for features in read_records(pattern):
        found.setdefault(features[record.GENRE].decode(), features)
        if found.keys() >= set(genres):
            break
    return {genre: found[genre] for genre in genres if genre in found}


def decode_levels(png: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Decode the mel image of a record as its levels.

    Parameters
    ----------
    png : bytes
        Value of `record.IMAGE`.

    Returns
    -------
    levels : np.ndarray [shape=(height, width), dtype=uint8]
        Indexes into the palette.
    colours : np.ndarray [shape=(256, 3), dtype=uint8]
        The palette.
    """
    image = Image.open(io.BytesIO(png))
    return np.asarray(image), np.array(image.getpalette(), np.uint8).reshape(-1, 3)


def spread(pattern: str, count: int, genres: int = 0) -> np.ndarray:
    """Take images of all genres in turn.

    Parameters
    ----------
    pattern : str
        Glob pattern of GZIP TFRecord files.
    count : int
        How many images, at most.
    genres : int
        Number of genres, at which reading can stop early; 0 if it is not known.

    Returns
    -------
    images : np.ndarray [shape=(n, height, width, 3), dtype=uint8]
        The first images of each genre, n at most `count`.
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

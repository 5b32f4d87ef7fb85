"""Which part of a fragment speaks for a genre: three ways to ask the network, from one that assumes nothing.

Evidence is measured in log-odds: the logarithm of a genre's probability over that of all others together. Unlike the
probability it does not stop growing where the network is certain. What is taken away becomes silence, the floor of the
picture. A map holds a value for each pixel of the picture: positive speaks for the genre, negative against it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tumbao.components.ingest.mel import palette
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.input_gradient import InputGradient

TIMES = 15
"""Windows of time that are silenced one after the other: 2 s each of a fragment of 30 s."""

BANDS = 12
"""Bands of frequency that are silenced one after the other, equally high in the picture."""

STEPS = 16
"""Points on the way from silence to the fragment at which gradients are taken."""

_AT_ONCE = 8
"""Pictures in one pass through the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class Occlusion:
    """What is lost when a part of a fragment falls silent.

    Parameters
    ----------
    times : np.ndarray [shape=(TIMES,), dtype=float32]
        Log-odds that each window of time is worth, the first window first.
    bands : np.ndarray [shape=(BANDS,), dtype=float32]
        Log-odds that each band is worth, the highest band first, as in the picture.
    map : np.ndarray [shape=(image_height, image_width), dtype=float32]
        Log-odds that each pixel is worth: those of its window and those of its band, each divided among their pixels.
    """

    times: np.ndarray
    bands: np.ndarray
    map: np.ndarray


def paint(levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Colour levels as the network sees them.

    Parameters
    ----------
    levels : np.ndarray [shape=(..., image_height, image_width)]
        0 (the floor) to 255 (the fragment's maximum); between two entries of the palette lies their mixture.
    spec : MelSpec
        Names the colour map.

    Returns
    -------
    images : np.ndarray [shape=(..., image_height, image_width, 3), dtype=float32]
        RGB in 0..255.
    """
    colours = palette(spec).astype(np.float32)
    below = np.floor(levels).astype(np.int64)
    above = np.minimum(below + 1, len(colours) - 1)
    share = (levels - below).astype(np.float32)[..., np.newaxis]
    return colours[below] * (1 - share) + colours[above] * share


def ask(model: keras.Model, levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Ask a network, a few pictures at a time.

    Parameters
    ----------
    model : keras.Model
        Images in 0..255 to anything.
    levels : np.ndarray [shape=(n, image_height, image_width), dtype=uint8]
        The pictures.
    spec : MelSpec
        Names the colour map.

    Returns
    -------
    answers : np.ndarray [shape=(n, ...), dtype=float32]
        What it gives for each.
    """
    batches = (levels[begin : begin + _AT_ONCE] for begin in range(0, len(levels), _AT_ONCE))
    return np.concatenate([model(tf.constant(paint(batch, spec)), training=False).numpy() for batch in batches])


def log_odds(scores: tf.Tensor, genre: int | tf.Tensor) -> tf.Tensor:
    """Measure how much speaks for a genre.

    Parameters
    ----------
    scores : tf.Tensor [shape=(n, genres), dtype=float32]
        Of `network.Opened`.
    genre : int or tf.Tensor [shape=(), dtype=int32]
        Index of the genre.

    Returns
    -------
    evidence : tf.Tensor [shape=(n,), dtype=float32]
        0 where the genre is as probable as all others together.

    Examples
    --------
    >>> round(float(log_odds(tf.math.log([[0.9, 0.05, 0.05]]), 0)[0]), 3)
    2.197
    """
    others = tf.where(tf.range(tf.shape(scores)[1]) == genre, -np.inf, scores)
    return scores[:, genre] - tf.reduce_logsumexp(others, axis=1)


def occlusion(model: keras.Model, levels: np.ndarray, genre: int, spec: MelSpec) -> Occlusion:
    """Silence the fragment in windows of time and in mel bands; this assumes nothing of the network.

    Parameters
    ----------
    model : keras.Model
        Of `network.Opened`.
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        The fragment.
    genre : int
        Index of the genre.
    spec : MelSpec
        Names the colour map.

    Returns
    -------
    occlusion : Occlusion
        What each part is worth.
    """
    height, width = levels.shape
    rows, columns = edges(height, BANDS), edges(width, TIMES)
    pictures = np.repeat(levels[np.newaxis], 1 + TIMES + BANDS, axis=0)
    for index in range(TIMES):
        pictures[1 + index, :, columns[index] : columns[index + 1]] = 0
    for index in range(BANDS):
        pictures[1 + TIMES + index, rows[index] : rows[index + 1]] = 0
    evidence = log_odds(tf.constant(ask(model, pictures, spec)), genre).numpy()
    lost = evidence[0] - evidence[1:]
    times, bands = lost[:TIMES], lost[TIMES:]
    by_row = np.repeat(bands / (np.diff(rows) * width), np.diff(rows))
    by_column = np.repeat(times / (np.diff(columns) * height), np.diff(columns))
    return Occlusion(times, bands, np.add.outer(by_row, by_column))


def integrated_gradients(uphill: InputGradient, levels: np.ndarray, genre: int) -> np.ndarray:
    """Follow the evidence from silence to the fragment (Sundararajan, Taly & Yan 2017), its levels rising together.

    Parameters
    ----------
    uphill : callable
        Of `Network.uphill`.
    levels : np.ndarray [shape=(image_height, image_width), dtype=uint8]
        The fragment.
    genre : int
        Index of the genre.

    Returns
    -------
    map : np.ndarray [shape=(image_height, image_width), dtype=float32]
        Log-odds that each pixel is worth. The sum is what the fragment has more than silence, but for the size of
        `STEPS` and the rounding of the palette's colours.
    """
    shares = (np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS
    return levels * np.mean([uphill(levels * share, genre)[0] for share in shares], axis=0)


def last_map(model: keras.Model) -> keras.layers.Layer | None:
    """Find the last layer whose output is still a picture: rows of frequency, columns of time.

    Parameters
    ----------
    model : keras.Model
        Images to scores.

    Returns
    -------
    layer : keras.layers.Layer or None
        None if a layer before it leaves the picture, as one that turns it into frames.
    """
    found = None
    for layer in model.layers[1:]:  # the first is the input
        if not _is_picture(layer.output):
            break
        found = layer
    return found


def _is_picture(output: Any) -> bool:
    shape: tuple[int, ...] = getattr(output, "shape", ())  # there is none where a layer gives several
    return len(shape) == 4 and min(shape[1:3]) > 1


def grad_cam(model: keras.Model, levels: np.ndarray, genre: int, spec: MelSpec) -> np.ndarray:
    """Weigh the last maps by their gradients (Grad-CAM, Selvaraju et al. 2017): one pass through the network.

    Each place is weighed by its own gradient (HiResCAM, Draelos & Carin 2020). Where a head averages its maps, that is
    Grad-CAM; the paper's head looks at each place by weights of its own, and a gradient averaged over all of them would
    speak of none.

    Parameters
    ----------
    model : keras.Model
        Of `network.Opened`.
    levels : np.ndarray [shape=(n, image_height, image_width), dtype=uint8]
        Fragments.
    genre : int
        Index of the genre.
    spec : MelSpec
        Names the colour map.

    Returns
    -------
    maps : np.ndarray [shape=(n, image_height, image_width), dtype=float32]
        What speaks for the genre is positive, what speaks against it negative.

    Raises
    ------
    ValueError
        If the network has no such map, see `last_map`.
    """
    layer = last_map(model)
    if layer is None:
        raise ValueError("Expected a network that keeps the picture, such as vgg16. Received: one of frames")
    channels = tf.constant(ask(keras.Model(model.input, layer.output), levels, spec))
    above = keras.Model(layer.output, model.output)
    with tf.GradientTape() as tape:
        tape.watch(channels)
        evidence = log_odds(above(channels, training=False), genre)
    coarse = tf.reduce_sum(tape.gradient(evidence, channels) * channels, axis=3, keepdims=True)
    return tf.image.resize(coarse, levels.shape[1:])[..., 0].numpy()


def edges(size: int, parts: int) -> np.ndarray:
    """Divide pixels into parts as equal as can be.

    Parameters
    ----------
    size : int
        How many pixels.
    parts : int
        How many parts.

    Returns
    -------
    edges : np.ndarray [shape=(parts + 1,), dtype=int64]
        From 0 to `size`.

    Examples
    --------
    >>> edges(96, 5).tolist()
    [0, 19, 38, 58, 77, 96]
    """
    return np.round(np.linspace(0, size, parts + 1)).astype(np.int64)

"""Attribution maps: which part of a fragment supports a genre, by occlusion, integrated gradients and Grad-CAM.

Evidence is measured in log-odds: the logarithm of a genre's probability over that of all other genres together. Unlike
the probability, it does not saturate where the network is certain. Occluded parts become silence, the floor of the
image. A map has one value per pixel: positive values support the genre, negative values oppose it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tumbao.components.ingest.mel import palette
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.network import InputGradient, log_odds

TIMES = 15
"""Number of time windows that are silenced one after the other: 2 s each in a fragment of 30 s."""

BANDS = 12
"""Number of frequency bands that are silenced one after the other, of equal height in the image."""

STEPS = 16
"""Points on the path from silence to the fragment at which gradients are computed."""

_AT_ONCE = 8
"""Images per call of the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class Occlusion:
    """Loss of log-odds when a part of a fragment is silenced.

    `times` float32 [TIMES] is in temporal order; `bands` float32 [BANDS] starts with the highest band, as in the image.
    `map` float32 [image_height, image_width] adds a pixel's share of its window and of its band, each divided equally
    among their pixels.
    """

    times: np.ndarray
    bands: np.ndarray
    map: np.ndarray


def colour_levels(levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Apply the colour map: levels [..., height, width] in 0..255 → RGB float32 [..., height, width, 3] in 0..255.

    Fractional levels are interpolated between two palette entries.
    """
    colours = palette(spec).astype(np.float32)
    below = np.floor(levels).astype(np.int64)
    above = np.minimum(below + 1, len(colours) - 1)
    share = (levels - below).astype(np.float32)[..., np.newaxis]
    return colours[below] * (1 - share) + colours[above] * share


def run_on_levels(model: keras.Model, levels: np.ndarray, spec: MelSpec) -> np.ndarray:
    """Run a network on levels uint8 [n, height, width] in batches: float32 [n, ...]."""
    batches = (levels[begin : begin + _AT_ONCE] for begin in range(0, len(levels), _AT_ONCE))
    return np.concatenate([model(tf.constant(colour_levels(batch, spec)), training=False).numpy() for batch in batches])


def occlusion(model: keras.Model, levels: np.ndarray, genre: int, spec: MelSpec) -> Occlusion:
    """Silence each time window and each mel band in turn; this makes no assumption about the network."""
    height, width = levels.shape
    rows, columns = edges(height, BANDS), edges(width, TIMES)
    pictures = np.repeat(levels[np.newaxis], 1 + TIMES + BANDS, axis=0)
    for index in range(TIMES):
        pictures[1 + index, :, columns[index] : columns[index + 1]] = 0
    for index in range(BANDS):
        pictures[1 + TIMES + index, rows[index] : rows[index + 1]] = 0
    evidence = log_odds(tf.constant(run_on_levels(model, pictures, spec)), genre).numpy()
    lost = evidence[0] - evidence[1:]
    times, bands = lost[:TIMES], lost[TIMES:]
    by_row = np.repeat(bands / (np.diff(rows) * width), np.diff(rows))
    by_column = np.repeat(times / (np.diff(columns) * height), np.diff(columns))
    return Occlusion(times, bands, np.add.outer(by_row, by_column))


def integrated_gradients(gradient_fn: InputGradient, levels: np.ndarray, genre: int) -> np.ndarray:
    """Compute integrated gradients from silence to the fragment (Sundararajan, Taly & Yan 2017), in log-odds per pixel.

    The map adds up to the difference in log-odds between fragment and silence, except for the error of `STEPS` points
    and the rounding of the palette's colours.
    """
    shares = (np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS
    return levels * np.mean([gradient_fn(levels * share, genre)[0] for share in shares], axis=0)


def last_map(model: keras.Model) -> keras.layers.Layer | None:
    """Find the last layer whose output is still an image: rows of frequency, columns of time.

    Return None if the first layer after the input has no such output, such as one that splits the image into frames.
    """
    found = None
    for layer in model.layers[1:]:  # the first is the input
        if not _is_picture(layer.output):
            break
        found = layer
    return found


def _is_picture(output: Any) -> bool:
    shape: tuple[int, ...] = getattr(output, "shape", ())  # a layer with several outputs has none
    return len(shape) == 4 and min(shape[1:3]) > 1


def grad_cam(model: keras.Model, levels: np.ndarray, genre: int, spec: MelSpec) -> np.ndarray:
    """Compute Grad-CAM maps (Selvaraju et al. 2017): levels uint8 [n, height, width] → float32 of the same shape.

    Each position is weighted by its own gradient (HiResCAM, Draelos & Carin 2020). For heads that average their maps,
    this equals Grad-CAM. The paper's head has separate weights for each position, and a gradient averaged over all
    positions would represent none of them. Raises ValueError if the network has no such map, see `last_map`.
    """
    layer = last_map(model)
    if layer is None:
        raise ValueError("Expected a network that keeps the picture, such as vgg16. Received: one of frames")
    channels = tf.constant(run_on_levels(keras.Model(model.input, layer.output), levels, spec))
    above = keras.Model(layer.output, model.output)
    with tf.GradientTape() as tape:
        tape.watch(channels)
        evidence = log_odds(above(channels, training=False), genre)
    coarse = tf.reduce_sum(tape.gradient(evidence, channels) * channels, axis=3, keepdims=True)
    return tf.image.resize(coarse, levels.shape[1:])[..., 0].numpy()


def edges(size: int, parts: int) -> np.ndarray:
    """Divide `size` pixels into parts as equal as possible: int64 [parts + 1], from 0 to `size`."""
    return np.round(np.linspace(0, size, parts + 1)).astype(np.int64)

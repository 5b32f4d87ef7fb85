"""Attribution maps: which part of a fragment supports a genre, by occlusion, integrated gradients and Grad-CAM.

Evidence is measured in log-odds: the logarithm of a genre's probability over that of all other genres together, which
does not saturate where the network is certain. Occluded parts become silence, the floor of the image. A map has one
value per pixel: positive values support the genre, negative values oppose it.

The faithfulness of maps is measured by deletion and insertion (Petsiuk, Das & Saenko 2018). *Deletion* flattens the
cells of the image in order of importance: each band gets its mean level over the fragment, which removes all events.
The sooner the genre is lost, the better the map. *Insertion* starts with a flat image and restores the cells in the
same order. Random orders and the order of loudness serve as references. Silence instead of flat cells would measure
something else: an image full of holes resembles no music.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from scipy.integrate import trapezoid
from scipy.stats import t

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.network import InputGradient, log_odds, run_on_levels

TIMES = 15  # number of time windows that are silenced one after the other: 2 s each in a fragment of 30 s
BANDS = 12  # number of frequency bands that are silenced one after the other, of equal height in the image
STEPS = 16  # points on the path from silence to the fragment at which gradients are computed
CELLS = 15  # cells per side of the image for faithfulness: 2 s wide in a fragment of 30 s

SHARES = (0.0, 0.03, 0.07, 0.13, 0.22, 0.35, 0.55, 1.0)
"""Shares of the cells at which the network is evaluated, denser at the beginning, where maps differ."""

SIGNIFICANCE_LEVEL = 0.05  # significance level: how often uninformative maps may pass as informative


@dataclasses.dataclass(frozen=True, eq=False)
class Occlusion:
    """Loss of log-odds when a part of a fragment is silenced."""

    times: np.ndarray  # float32 [TIMES], in temporal order
    bands: np.ndarray  # float32 [BANDS], the highest first, as in the image
    map: np.ndarray  # [image_height, image_width]: a pixel's equal share of the loss of its window and of its band


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
    """Compute integrated gradients from silence to the fragment (Sundararajan, Taly & Yan 2017)."""
    shares = (np.arange(STEPS, dtype=np.float32) + 0.5) / STEPS
    return levels * np.mean([gradient_fn(levels * share, genre) for share in shares], axis=0)


def last_map(model: keras.Model) -> keras.layers.Layer | None:
    """Find the last layer whose output is still an image: rows of frequency, columns of time."""
    found = None
    for layer in model.layers[1:]:  # the first is the input
        shape: tuple[int, ...] = getattr(layer.output, "shape", ())  # a layer with several outputs has none
        if len(shape) != 4 or min(shape[1:3]) == 1:
            break
        found = layer
    return found


def grad_cam(
    model: keras.Model, layer: keras.layers.Layer, levels: np.ndarray, genre: int, spec: MelSpec
) -> np.ndarray:
    """Compute Grad-CAM maps (Selvaraju et al. 2017): levels uint8 [n, height, width] → float32 of the same shape.

    Each position is weighted by its own gradient (HiResCAM, Draelos & Carin 2020). For heads that average their maps,
    this equals Grad-CAM. The paper's head has separate weights for each position, and a gradient averaged over all
    positions would represent none of them. `layer` is that of `last_map`.
    """
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


@dataclasses.dataclass(frozen=True, eq=False)
class Faithfulness:
    """Log-odds of the genre along the deletion and insertion curves of a map, float32 [len(SHARES)] each."""

    deletion: np.ndarray
    insertion: np.ndarray

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve, equal to its mean height; the smaller, the better."""
        return float(trapezoid(self.deletion, SHARES))

    @property
    def insertion_area(self) -> float:
        """Area under the insertion curve, equal to its mean height; the larger, the better."""
        return float(trapezoid(self.insertion, SHARES))

    @property
    def gain(self) -> float:
        """Difference between both areas; the larger, the more faithful."""
        return self.insertion_area - self.deletion_area


def measure(
    model: keras.Model, levels: np.ndarray, maps: Sequence[np.ndarray], genre: int, spec: MelSpec
) -> tuple[Faithfulness, ...]:
    """Measure maps of one fragment; levels (uint8) and maps are [image_height, image_width]."""
    flat = np.broadcast_to(levels.mean(axis=1, keepdims=True).round(), levels.shape).astype(np.uint8)
    pictures = [levels, flat]
    for one in maps:
        for share in SHARES[1:-1]:
            chosen = most(one, share)
            pictures += [np.where(chosen, flat, levels), np.where(chosen, levels, flat)]
    evidence = log_odds(run_on_levels(model, np.stack(pictures), spec), genre).numpy()
    whole, nothing, between = evidence[0], evidence[1], evidence[2:].reshape(len(maps), -1, 2)
    return tuple(
        Faithfulness(np.array([whole, *deleted, nothing]), np.array([nothing, *inserted, whole]))
        for deleted, inserted in between.transpose(0, 2, 1)
    )


def most(importance: np.ndarray, share: float) -> np.ndarray:
    """Select the given share of the cells, the most important first: bool [height, width]."""
    cells = by_cell(importance)
    order = np.argsort(-cells, axis=None, kind="stable")
    chosen = np.zeros(cells.size, bool)
    chosen[order[: round(share * cells.size)]] = True
    return over_picture(chosen.reshape(cells.shape), importance.shape)


def by_cell(importance: np.ndarray) -> np.ndarray:
    """Average a map over its cells: [height, width] → float64 [CELLS, CELLS], the highest band first."""
    rows, columns = (edges(size, CELLS) for size in importance.shape)
    sums = np.add.reduceat(np.add.reduceat(importance.astype(np.float64), rows[:-1], 0), columns[:-1], 1)
    return sums / np.outer(np.diff(rows), np.diff(columns))


def over_picture(cells: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Expand cells [CELLS, CELLS] to pixels [height, width]."""
    by_row = np.repeat(cells, np.diff(edges(shape[0], CELLS)), axis=0)
    return np.repeat(by_row, np.diff(edges(shape[1], CELLS)), axis=1)


def random_maps(shape: tuple[int, ...], count: int, seed: int) -> list[np.ndarray]:
    """Create maps with one random value per cell, float64 [height, width]."""
    rng = np.random.default_rng(seed)
    return [over_picture(rng.random((CELLS, CELLS)), shape) for _ in range(count)]


def limit_of_chance(gains: Sequence[float], maps: int) -> float:
    """Compute the gain above which a map is better than chance, by Student's t-distribution.

    `gains` are those of random orders. In at most `SIGNIFICANCE_LEVEL` of all cases, at least one of `maps` random
    orders is above the limit.
    """
    quantile = float(t.ppf(1 - SIGNIFICANCE_LEVEL / maps, len(gains) - 1))
    return float(np.mean(gains) + quantile * np.std(gains, ddof=1) * np.sqrt(1 + 1 / len(gains)))

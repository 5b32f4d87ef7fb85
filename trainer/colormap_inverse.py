"""Mel image → mel frames: the inverse of the colour map, for models that need levels instead of colours."""

from __future__ import annotations

import numpy as np

from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.lazy import keras, ops


def levels(spec: MelSpec) -> keras.Model:
    """Build the model, which has no weights.

    Images [n, height, width, 3], RGB, uint8 or float in 0..255 → mel frames float32 [n, width, height]: time first, low
    bands first, from 0 (the floor) to 1 (the fragment's maximum); a step is 1/255 of the range in dB.
    """
    images = keras.Input(spec.image_shape, dtype="float32", name="image")
    red, green, blue = ops.unstack(ops.cast(images, "int32"), axis=-1)
    frames = ops.take(_table(spec), 2 * red + green + blue)
    return keras.Model(images, ops.flip(ops.transpose(frames, (0, 2, 1)), axis=2), name="levels")


def _table(spec: MelSpec) -> np.ndarray:
    """Levels by 2 · red + green + blue, a sum that is unique among the entries of magma."""
    from tumbao.components.ingest.mel import palette

    sums = palette(spec).astype(np.int64) @ (2, 1, 1)
    return np.interp(np.arange(4 * 255 + 1), sums, np.arange(256) / 255).astype(np.float32)

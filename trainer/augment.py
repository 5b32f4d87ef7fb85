"""SpecAugment (Park et al. 2019): random bands and times of a mel image are masked.

Time warping, the third part of SpecAugment, is left out: according to its authors it helps least.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from tumbao.schema.mel_spec import MelSpec

if TYPE_CHECKING:
    import tensorflow as tf

MASKS = 2
"""Masks in each direction."""

BAND_SHARE, TIME_SHARE = 0.15, 0.1
"""Maximum width of a mask, as a share of the image's height and width."""


def mask_seed(png: bytes, copy: int) -> int:
    """Derive the seed of a masked copy (numbered from 1) from the PNG, so that every command masks it alike."""
    return zlib.crc32(png, copy)


def spec_augment(image: tf.Tensor, seed: int, spec: MelSpec) -> tf.Tensor:
    """Mask bands and times of one image uint8 [height, width, 3] with the colour of silence."""
    import tensorflow as tf
    import tensorflow_io as tfio

    from tumbao.components.ingest.mel import palette

    height, width = spec.image_height, spec.image_width
    tf.random.set_seed(seed)
    mask = tf.ones((width, height), tf.float32)
    for _ in range(MASKS):
        mask = tfio.audio.freq_mask(mask, param=max(1, round(BAND_SHARE * height)))
        mask = tfio.audio.time_mask(mask, param=max(1, round(TIME_SHARE * width)))
    return tf.where(tf.transpose(mask)[..., tf.newaxis] > 0, image, tf.constant(palette(spec)[0]))

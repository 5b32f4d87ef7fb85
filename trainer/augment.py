"""SpecAugment (Park et al. 2019): bands and times of a mel image are masked, so that no model may lean on one of them.

Of time warping, the third part of SpecAugment, its authors say that it helps least; it is left out.
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
"""Widest mask, as a share of the image's height and width."""


def mask_seed(png: bytes, copy: int) -> int:
    """Derive the seed of a masked copy from the image itself, so that every command masks it alike.

    Parameters
    ----------
    png : bytes
        The mel image as it stands in a record.
    copy : int
        Number of the copy, from 1.

    Returns
    -------
    seed : int
        For `spec_augment`.
    """
    return zlib.crc32(png, copy)


def spec_augment(image: tf.Tensor, seed: int, spec: MelSpec) -> tf.Tensor:
    """Mask bands and times of one image.

    Parameters
    ----------
    image : tf.Tensor [shape=(height, width, 3), dtype=uint8]
        A mel image.
    seed : int
        Seed of the masks' widths and places.
    spec : MelSpec
        How the image was drawn.

    Returns
    -------
    masked : tf.Tensor [shape=(height, width, 3), dtype=uint8]
        What is masked has the colour of silence.
    """
    import tensorflow as tf
    import tensorflow_io as tfio

    from tumbao.components.ingest.mel import palette

    height, width = spec.image_height, spec.image_width
    tf.random.set_seed(seed)
    kept = tf.ones((width, height), tf.float32)
    for _ in range(MASKS):
        kept = tfio.audio.freq_mask(kept, param=max(1, round(BAND_SHARE * height)))
        kept = tfio.audio.time_mask(kept, param=max(1, round(TIME_SHARE * width)))
    return tf.where(tf.transpose(kept)[..., tf.newaxis] > 0, image, tf.constant(palette(spec)[0]))

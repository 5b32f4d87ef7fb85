"""SpecAugment (Park et al. 2019): random bands and times of a mel image are masked.

Time warping, the third part of SpecAugment, is left out: according to its authors it helps least. The masks are
those of tensorflow-io, which does not load beside TensorFlow 2.21.
"""

from __future__ import annotations

from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.lazy import tf

MASKS = 2
"""Masks in each direction."""

BAND_SHARE, TIME_SHARE = 0.15, 0.1
"""Maximum width of a mask, as a share of the image's height and width."""


def spec_augment(image: tf.Tensor, seed: int, spec: MelSpec) -> tf.Tensor:
    """Mask bands and times of one image uint8 [height, width, 3] with the colour of silence."""
    from tumbao.components.ingest.mel import palette

    height, width = spec.image_height, spec.image_width
    tf.random.set_seed(seed)
    masked = tf.zeros((height, width), tf.bool)
    for _ in range(MASKS):
        masked |= _mask(height, BAND_SHARE)[:, tf.newaxis]
        masked |= _mask(width, TIME_SHARE)
    return tf.where(masked[..., tf.newaxis], tf.constant(palette(spec)[0]), image)


def _mask(length: int, share: float) -> tf.Tensor:
    """Draw a width below `share` of the length, then a start: bool [length], True in the mask."""
    width = tf.random.uniform((), 0, max(1, round(share * length)), tf.int32)
    start = tf.random.uniform((), 0, length - width, tf.int32)
    position = tf.range(length) - start
    return (position >= 0) & (position < width)

"""Gradient of a network's output with respect to the levels of its input image."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tumbao.components.ingest.mel import palette
from tumbao.schema.mel_spec import MelSpec

InputGradient = Callable[[np.ndarray, int], "tuple[np.ndarray, float]"]
"""Levels float32 [height, width] in 0..255 and the index of an output → gradient [height, width] and measured value."""

Measure = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Output of a network for one image [1, ...] and the index of an output → one number."""


class NoGradientError(ValueError):
    """No gradient is found from a model's output to its input image."""


def input_gradient(model: keras.Model, spec: MelSpec, measure: Measure) -> InputGradient:
    """Build the gradient of `measure` with respect to the levels, through the colour map or bypassing it.

    Images may have any size that the model accepts, but only that of the spec if the model inverts the colour map
    itself. Raises `NoGradientError` if no gradient is found, as in models with decision trees.
    """
    size, from_levels = _from_levels(model, spec)

    @tf.function(input_signature=[tf.TensorSpec(size, tf.float32), tf.TensorSpec([], tf.int32)], autograph=False)
    def uphill(levels: tf.Tensor, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        measured = measure(from_levels(levels[tf.newaxis]), index)
        (gradient,) = tf.gradients(measured, levels)
        if gradient is None:
            raise NoGradientError(
                "Expected a model with a gradient from its answer to the picture. Received: one where none is found, "
                "as in models that ask trees, or that undo the colours of the picture in a model within the model."
            )
        return gradient, measured

    uphill.get_concrete_function()

    def of(levels: np.ndarray, index: int) -> tuple[np.ndarray, float]:
        gradient, measured = uphill(levels, index)
        return gradient.numpy(), float(measured)

    return of


def _from_levels(
    model: keras.Model, spec: MelSpec
) -> tuple[tuple[int | None, int | None], Callable[[tf.Tensor], tf.Tensor]]:
    """Return the image size and a function from levels to outputs; skip the colours if the model inverts them."""
    size = spec.image_shape[:2]
    takes = [one for one in model.operations if type(one).__name__ == "Take" and one.output.shape[1:] == size]
    if takes:
        rest = keras.Model(takes[0].output, model.output)
        return size, lambda levels: rest(levels / 255.0, training=False)
    colours = tf.constant(palette(spec), tf.float32)

    def coloured(levels: tf.Tensor) -> tf.Tensor:
        below = tf.clip_by_value(tf.floor(levels), 0.0, 254.0)
        share = (levels - tf.stop_gradient(below))[..., tf.newaxis]
        index = tf.cast(below, tf.int32)
        return model(tf.gather(colours, index) * (1 - share) + tf.gather(colours, index + 1) * share, training=False)

    return (None, None), coloured

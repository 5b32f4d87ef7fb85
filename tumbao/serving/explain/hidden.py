"""Images → what the network makes of them last: the layer before the softmax, and the logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from tumbao import progress
from tumbao.schema.mel_spec import MelSpec

if TYPE_CHECKING:
    import keras

BATCH = 8
"""Images in one call of the network."""

_FLOOR = 1e-30
"""Least probability whose logarithm is taken."""


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What a network makes of images.

    Parameters
    ----------
    vectors : np.ndarray [shape=(n, units), dtype=float32]
        Output of the last hidden layer.
    logits : np.ndarray [shape=(n, genres), dtype=float32]
        What the softmax makes probabilities of; their logarithms where no dense layer comes last.
    """

    vectors: np.ndarray
    logits: np.ndarray

    @property
    def answers(self) -> np.ndarray:
        """Index of the most probable genre, int64 [n]."""
        return self.logits.argmax(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """Probability of each genre, float32 [n, genres]."""
        powers = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)


class Hidden:
    """A network with its last hidden layer laid open.

    Parameters
    ----------
    model : keras.Model
        Images [n, height, width, 3] in 0..255 → probabilities [n, genres].
    spec : MelSpec
        Parameters of the images.
    """

    def __init__(self, model: keras.Model, spec: MelSpec) -> None:
        import keras
        import tensorflow as tf

        self._spec = spec
        taken, last = _opened(model)
        outputs = keras.Model(model.inputs, [model.outputs[0], *taken])
        dense = isinstance(last, keras.layers.Dense)
        self._last = [weights.numpy() for weights in (last.kernel, last.bias)] if dense else None
        self._infer = tf.function(lambda images: outputs(images, training=False))

    def see(self, images: Iterable[np.ndarray], count: int, step: str) -> Seen:
        """Show images.

        Parameters
        ----------
        images : iterable of np.ndarray [shape=(height, width, 3)]
            RGB in 0..255.
        count : int
            How many there are, at least 1.
        step : str
            What the work is called in `tumbao.progress`.

        Returns
        -------
        seen : Seen
            A row for each image.

        Raises
        ------
        ValueError
            If there is no image.
        """
        if count < 1:
            raise ValueError(f"Expected at least one image. Received: count={count}")
        progress.start(step, count)
        rest = iter(images)
        parts = []
        while batch := list(islice(rest, BATCH)):
            parts.append(self._see(np.stack(batch)))
            progress.advance(step, len(batch))
        return Seen(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def logits(self, waveforms: np.ndarray) -> np.ndarray:
        """Listen.

        Parameters
        ----------
        waveforms : np.ndarray [shape=(n, fragment_samples), dtype=float32]
            Mono, in [-1, 1].

        Returns
        -------
        logits : np.ndarray [shape=(n, genres), dtype=float32]
            As `Seen.logits`.
        """
        from tumbao.components.ingest.mel import mel_image

        batches = [waveforms[start : start + BATCH] for start in range(0, len(waveforms), BATCH)]
        return np.concatenate([self._see(mel_image(batch, self._spec).numpy())[1] for batch in batches])

    def _see(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        probabilities, *taken = (output.numpy() for output in self._infer(images.astype(np.float32)))
        vectors = np.concatenate([one.reshape(len(images), -1) for one in taken], axis=1)
        if self._last is None:
            return vectors, np.log(np.maximum(probabilities, _FLOOR))
        kernel, bias = self._last
        return vectors, vectors @ kernel + bias


def _opened(model: keras.Model) -> tuple[list[keras.KerasTensor], keras.layers.Layer]:
    """Give what the last layer takes, and that layer; where a model comes last, its last layer is meant."""
    import keras

    last = model.layers[-1]
    if isinstance(last, keras.Model):
        inside, innermost = _opened(last)
        return keras.tree.flatten(keras.Model(last.inputs, inside)(model.layers[-2].output)), innermost
    return keras.tree.flatten(last.input), last

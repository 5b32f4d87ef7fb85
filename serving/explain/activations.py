"""Activations of a network's last hidden layer, and its logits, for a set of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import islice

import numpy as np

from tumbao.components.ingest import progress
from tumbao.serving.explain.network import Network

BATCH = 8
"""Images per call of the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class Activations:
    """Activations of a network for n images.

    `vectors` is the output of the last hidden layer, float32 [n, units]. `logits` float32 [n, genres] are the inputs of
    the softmax, or the logarithms of the probabilities if the model does not end in a dense softmax layer.
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
    """A network with access to its last hidden layer."""

    def __init__(self, network: Network) -> None:
        import keras
        import tensorflow as tf

        self._spec = network.spec
        scores = network.opened.scores
        outputs = keras.Model(scores.inputs, [scores.output, *network.opened.hidden])
        self._infer = tf.function(lambda images: outputs(images, training=False))

    def see(self, images: Iterable[np.ndarray], count: int, step: str) -> Activations:
        """Compute the activations of `count` images (RGB in 0..255); `step` is the name of the progress step."""
        if count < 1:
            raise ValueError(f"Expected at least one image. Received: count={count}")
        progress.start(step, count)
        rest = iter(images)
        parts = []
        while batch := list(islice(rest, BATCH)):
            parts.append(self._see(np.stack(batch)))
            progress.advance(step, len(batch))
        return Activations(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def logits(self, waveforms: np.ndarray) -> np.ndarray:
        """Compute the logits of mono waveforms: float32 [n, fragment_samples] in [-1, 1] → float32 [n, genres]."""
        from tumbao.components.ingest.mel import mel_image

        batches = [waveforms[start : start + BATCH] for start in range(0, len(waveforms), BATCH)]
        return np.concatenate([self._see(mel_image(batch, self._spec).numpy())[1] for batch in batches])

    def _see(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, *hidden = (output.numpy() for output in self._infer(images.astype(np.float32)))
        return np.concatenate([one.reshape(len(images), -1) for one in hidden], axis=1), scores

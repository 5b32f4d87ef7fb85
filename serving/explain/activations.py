"""Images → what the network makes of them last: the layer before the softmax, and the logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import islice

import numpy as np

from tumbao.components.ingest import progress
from tumbao.serving.explain.network import Network

BATCH = 8
"""Images in one call of the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class Activations:
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
    network : Network
        The network.
    """

    def __init__(self, network: Network) -> None:
        import keras
        import tensorflow as tf

        self._spec = network.spec
        scores = network.opened.scores
        outputs = keras.Model(scores.inputs, [scores.output, *network.opened.hidden])
        self._infer = tf.function(lambda images: outputs(images, training=False))

    def see(self, images: Iterable[np.ndarray], count: int, step: str) -> Activations:
        """Show images.

        Parameters
        ----------
        images : iterable of np.ndarray [shape=(height, width, 3)]
            RGB in 0..255.
        count : int
            How many there are, at least 1.
        step : str
            What the work is called in `tumbao.components.ingest.progress`.

        Returns
        -------
        seen : Activations
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
        return Activations(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def logits(self, waveforms: np.ndarray) -> np.ndarray:
        """Listen.

        Parameters
        ----------
        waveforms : np.ndarray [shape=(n, fragment_samples), dtype=float32]
            Mono, in [-1, 1].

        Returns
        -------
        logits : np.ndarray [shape=(n, genres), dtype=float32]
            As `Activations.logits`.
        """
        from tumbao.components.ingest.mel import mel_image

        batches = [waveforms[start : start + BATCH] for start in range(0, len(waveforms), BATCH)]
        return np.concatenate([self._see(mel_image(batch, self._spec).numpy())[1] for batch in batches])

    def _see(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, *hidden = (output.numpy() for output in self._infer(images.astype(np.float32)))
        return np.concatenate([one.reshape(len(images), -1) for one in hidden], axis=1), scores

"""The loss of a model with sub-genres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tumbao.schema.hierarchy import grouped


@keras.saving.register_keras_serializable("tumbao")
class TwoLevelCrossentropy(keras.losses.Loss):
    """Cross-entropy at both levels: the mean of that of the leaves and that of the genres, in nats.

    A genre's probability and its label are sums over its leaves, so labels may be soft (mixup). Smoothing spreads its
    share over all leaves at the one level, over all genres at the other.

    Parameters
    ----------
    leaves : sequence of str
        The names of the model's outputs, in their order.
    label_smoothing : float
        Share of each label that is spread, in 0..1.
    name : str
        Keras' name of it.
    reduction : str
        How Keras makes one number of a batch.
    """

    def __init__(
        self,
        leaves: Sequence[str],
        label_smoothing: float = 0.0,
        name: str = "two_level_crossentropy",
        reduction: str = "sum_over_batch_size",
    ) -> None:
        super().__init__(name=name, reduction=reduction)
        self._leaves, self._label_smoothing = tuple(leaves), label_smoothing
        genres, genre_of = grouped(self._leaves)
        self._genres, self._genre_of = len(genres), genre_of.tolist()

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compute the loss of each fragment.

        Parameters
        ----------
        y_true : tensor [shape=(n, leaves), dtype=float32]
            Labels, one-hot or soft.
        y_pred : tensor [shape=(n, leaves), dtype=float32]
            Probabilities.

        Returns
        -------
        loss : tensor [shape=(n,), dtype=float32]
            In nats, 0 or more.
        """
        to_genres = ops.one_hot(self._genre_of, self._genres, dtype=y_pred.dtype)  # [leaves, genres]
        levels = ((y_true, y_pred), (ops.matmul(y_true, to_genres), ops.matmul(y_pred, to_genres)))
        of_leaves, of_genres = (
            keras.losses.categorical_crossentropy(true, predicted, label_smoothing=self._label_smoothing)
            for true, predicted in levels
        )
        return (of_leaves + of_genres) / 2

    def get_config(self) -> dict[str, Any]:
        """Tell what the loss is built from.

        Returns
        -------
        config : dict of str to Any
            The parameters.
        """
        return {
            "leaves": list(self._leaves),
            "label_smoothing": self._label_smoothing,
            "name": self.name,
            "reduction": self.reduction,
        }

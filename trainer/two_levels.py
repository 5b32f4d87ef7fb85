"""The loss of a model with sub-genres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tumbao.schema.hierarchy import grouped


@keras.saving.register_keras_serializable("tumbao")
class TwoLevelCrossentropy(keras.losses.Loss):
    """Mean of the cross-entropies of sub-genres and of genres, in nats.

    A genre's probability and its label are sums over its sub-genres, so labels may be soft (mixup). Label smoothing
    spreads its share over all sub-genres on one level, over all genres on the other. `leaves` are the names of the
    model's outputs, in their order.
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
        """Compute the loss float32 [n] from labels (one-hot or soft) and probabilities, both float32 [n, leaves]."""
        to_genres = ops.one_hot(self._genre_of, self._genres, dtype=y_pred.dtype)  # [leaves, genres]
        levels = ((y_true, y_pred), (ops.matmul(y_true, to_genres), ops.matmul(y_pred, to_genres)))
        of_leaves, of_genres = (
            keras.losses.categorical_crossentropy(true, predicted, label_smoothing=self._label_smoothing)
            for true, predicted in levels
        )
        return (of_leaves + of_genres) / 2

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return {
            "leaves": list(self._leaves),
            "label_smoothing": self._label_smoothing,
            "name": self.name,
            "reduction": self.reduction,
        }

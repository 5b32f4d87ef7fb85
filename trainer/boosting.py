"""Boosted trees as a Keras model: trained by scikit-learn, evaluated by tensor operations.

After Bergstra, Casagrande, Erhan, Eck & Kégl, "Aggregate features and AdaBoost for music classification" (Machine
Learning 65, 2006). As in the paper, AdaBoost selects features by boosting stumps or small trees, and its outputs for
the parts of a song are averaged. Differences:

- the paper uses AdaBoost.MH, with one binary decision for each genre in every round; here it is scikit-learn's SAMME
  (Zhu, Zou, Rosset & Hastie, "Multi-class AdaBoost", 2009), whose trees vote for one genre each;
- the paper has no probabilities. Those of SAMME are far too unsure, since they come from the mean vote, which is within
  [-1, 1] whatever the evidence: the vote is multiplied by a sharpness chosen on the validation split, with Platt's
  smoothed targets, since n correct answers promise no more than (n + 1) / (n + 2);
- the number of rounds is chosen on the validation split too.

A tree is padded to a complete one, whose decisions are all computed at once; the leaf reached is the one for which all
decisions on its path agree. So there is no branch, and TFLite needs built-in operations only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops
from scipy.special import log_softmax

from tumbao.schema.errors import UserError

if TYPE_CHECKING:
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

_SHARPNESSES = 2.0 ** np.arange(0, 8.25, 0.25)  # 1 gives scikit-learn's probabilities


@keras.saving.register_keras_serializable("tumbao")
class Trees(keras.layers.Layer):
    """Complete binary trees that vote for genres: features [n, d] → probabilities [n, genres], float32.

    A decision goes left where the feature is at most the threshold.
    """

    def __init__(self, genres: int, rounds: int, depth: int) -> None:
        super().__init__(name="trees", dtype="float32")
        nodes, leaves = 2**depth - 1, 2**depth
        self.feature = self.add_weight((rounds, nodes), "zeros", "int32", trainable=False, name="feature")
        self.threshold = self.add_weight((rounds, nodes), "zeros", trainable=False, name="threshold")
        self.votes = self.add_weight((rounds, leaves, genres), "zeros", trainable=False, name="votes")
        self.sharpness = self.add_weight((), "ones", trainable=False, name="sharpness")
        self._genres, self._rounds, self._depth = genres, rounds, depth

    def call(self, features: Any) -> Any:
        """Compute the probabilities."""
        nodes, leaves = 2**self._depth - 1, 2**self._depth
        values = ops.take(features, ops.reshape(self.feature, (-1,)), axis=1)
        right = ops.cast(values > ops.reshape(self.threshold, (-1,)), "float32")
        sides = ops.reshape(2.0 * right - 1.0, (-1, nodes))  # [n · rounds, nodes]
        agreeing = ops.matmul(sides, _paths(self._depth))
        reached = ops.cast(agreeing > self._depth - 0.5, "float32")
        votes = ops.reshape(self.votes, (-1, self._genres))
        mean = ops.matmul(ops.reshape(reached, (-1, self._rounds * leaves)), votes)
        return ops.softmax(self.sharpness * mean)

    def get_config(self) -> dict[str, int]:
        """Return the constructor arguments."""
        return {"genres": self._genres, "rounds": self._rounds, "depth": self._depth}


def empty_boosted(features: int, *, genres: int, rounds: int, depth: int) -> keras.Model:
    """Build the model without trees, to load weights into: features [n, features] → probabilities float32 [n, genres].

    `rounds` is the maximum number of trees, `depth` the number of decisions from the root to a leaf (1 is a stump).
    """
    inputs = keras.Input((features,), dtype="float32", name="features")
    return keras.Sequential([inputs, Trees(genres, rounds, depth)], name="head")


def boosted_head(
    features: np.ndarray,
    labels: np.ndarray,
    sample_weights: np.ndarray | None,
    *,
    validation: tuple[np.ndarray, np.ndarray],
    genres: int,
    rounds: int,
    depth: int,
    seed: int,
) -> tuple[keras.Model, list[dict[str, float]], int]:
    """Boost trees, with the number of rounds and the sharpness that are best on the validation split.

    The best round has the highest validation accuracy; among equals, the lowest loss at its best sharpness. Trees of
    later rounds are dropped. `features` float16 or float32 [n, d] and `labels` int [n] are the training split, with
    every genre present (otherwise UserError); `validation` is the pair of features and labels. `rounds` and `depth` are
    maxima; `seed` breaks ties between equally good splits.

    Returns the model, the history, and the best round, from 1. The history has `loss`, `accuracy`, `val_loss` and
    `val_accuracy` of every round that was trained; boosting ends early if a tree is perfect or no better than chance.
    """
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    if missing := sorted({*range(genres)} - {*labels.tolist()}):
        raise UserError(f"Boosting needs fragments of every genre to train on. Received: none with label {missing}")
    ensemble = AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=depth), n_estimators=rounds, algorithm="SAMME", random_state=seed
    ).fit(features.astype(np.float32), labels, sample_weights)
    onehot, val_onehot = np.eye(genres)[labels], np.eye(genres)[validation[1]]
    smoothed = (len(val_onehot) + 1) / (len(val_onehot) + 2)
    targets = np.where(val_onehot, smoothed, (1 - smoothed) / (genres - 1))
    history, sharpnesses = [], []
    staged = (_staged_votes(ensemble, split) for split in (features, validation[0]))
    for votes, val_votes in zip(*staged, strict=True):
        losses = [_cross_entropy(sharpness * val_votes, targets) for sharpness in _SHARPNESSES]
        sharpness = float(_SHARPNESSES[np.argmin(losses)])
        sharpnesses.append(sharpness)
        history.append(
            {
                "loss": _cross_entropy(sharpness * votes, onehot),
                "accuracy": float(np.mean(votes.argmax(axis=1) == labels)),
                "val_loss": _cross_entropy(sharpness * val_votes, val_onehot),
                "val_accuracy": float(np.mean(val_votes.argmax(axis=1) == validation[1])),
            }
        )
    best = max(range(len(history)), key=lambda index: (history[index]["val_accuracy"], -history[index]["val_loss"]))
    model = empty_boosted(features.shape[1], genres=genres, rounds=rounds, depth=depth)
    load_trees(model, ensemble, rounds=best + 1, sharpness=sharpnesses[best])
    return model, history, best + 1


def load_trees(model: keras.Model, ensemble: AdaBoostClassifier, *, rounds: int, sharpness: float) -> None:
    """Copy the first `rounds` trees of a fitted ensemble into a model of `empty_boosted`.

    With a sharpness of 1, the probabilities are scikit-learn's.
    """
    (trees,) = model.layers
    feature, threshold, votes = (np.zeros(weight.shape) for weight in (trees.feature, trees.threshold, trees.votes))
    genres = votes.shape[2]
    shares = ensemble.estimator_weights_[:rounds] / ensemble.estimator_weights_[:rounds].sum()
    for index, (tree, share) in enumerate(zip(ensemble.estimators_, shares, strict=False)):
        feature[index], threshold[index], classes = _completed(tree, votes.shape[1])
        votes[index] = share * np.where(np.eye(genres)[classes], 1, -1 / (genres - 1)) / (genres - 1)
    for weight, value in ((trees.feature, feature), (trees.threshold, threshold), (trees.votes, votes)):
        weight.assign(value)
    trees.sharpness.assign(sharpness)


def _completed(tree: DecisionTreeClassifier, leaves: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return feature and threshold of each node, level by level, and the class of each leaf from left to right.

    A leaf above the last level becomes a node that always goes left, with itself on both sides.
    """
    grown = tree.tree_
    feature, threshold, nodes = np.zeros(leaves - 1, np.int32), np.full(leaves - 1, np.inf), [0]
    for index in range(leaves - 1):
        node = nodes[index]
        if grown.children_left[node] < 0:
            nodes += [node, node]
        else:
            feature[index], threshold[index] = grown.feature[node], grown.threshold[node]
            nodes += [grown.children_left[node], grown.children_right[node]]
    classes = tree.classes_[grown.value[nodes[leaves - 1 :], 0].argmax(axis=1)]
    # a float32 value is <= the threshold if and only if it is <= the largest float32 that is not above the threshold
    rounded = threshold.astype(np.float32)
    return feature, np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded), classes


def _paths(depth: int) -> np.ndarray:
    """Matrix [nodes, leaves]: 1 where the path to a leaf goes right at a node, -1 left, 0 if the node is not on it."""
    paths = np.zeros((2**depth - 1, 2**depth), np.float32)
    for leaf in range(2**depth):
        node = 0
        for level in reversed(range(depth)):
            right = leaf >> level & 1
            paths[node, leaf] = 2 * right - 1
            node = 2 * node + 1 + right
    return paths


def _staged_votes(ensemble: AdaBoostClassifier, features: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the logarithms of scikit-learn's probabilities, up to a constant, after each round, [n, genres]."""
    for decision in ensemble.staged_decision_function(features.astype(np.float32)):
        if decision.ndim == 1:
            yield np.stack([-decision, decision], axis=1) / 2
        else:
            yield decision / (decision.shape[1] - 1)


def _cross_entropy(votes: np.ndarray, targets: np.ndarray) -> float:
    """Cross-entropy of the softmax of votes against target probabilities, both [n, genres]."""
    return float(-np.mean((targets * log_softmax(votes, axis=1)).sum(axis=1)))

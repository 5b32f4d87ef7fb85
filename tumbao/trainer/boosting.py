"""Boosted trees as a Keras model: scikit-learn grows them, tensor operations ask them.

After Bergstra, Casagrande, Erhan, Eck & Kégl, "Aggregate features and AdaBoost for music classification" (Machine
Learning 65, 2006). As there, AdaBoost picks features by boosting stumps or small trees, and what it says of the parts
of a song is averaged. Otherwise than there:

- the source boosts with AdaBoost.MH, one yes or no for each genre in every round; here it is SAMME (Zhu, Zou, Rosset &
  Hastie, "Multi-class AdaBoost", 2009), scikit-learn's, whose trees vote for one genre each;
- the source has no probabilities. SAMME's are far too unsure, since they come from the mean vote, which is within
  [-1, 1] whatever the evidence: the vote is multiplied by a sharpness that is chosen on the validation split, with
  Platt's smoothed targets, since n right answers promise no more than (n + 1) / (n + 2);
- the number of rounds is chosen on the validation split too.

A tree is padded to a complete one, whose decisions are all taken at once; the leaf that is reached is the one with
which all decisions on its path agree. So there is no branch, and TFLite needs built-in operations only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from tumbao.errors import UserError

if TYPE_CHECKING:
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

_SHARPNESSES = 2.0 ** np.arange(0, 8.25, 0.25)  # with 1 the probabilities are scikit-learn's


@keras.saving.register_keras_serializable("tumbao")
class Trees(keras.layers.Layer):
    """Complete binary trees that vote for genres.

    Features [n, d] become probabilities [n, genres], float32. A decision goes to the left where the feature is at most
    the threshold. Before there are trees, all genres are equally likely.

    Parameters
    ----------
    genres : int
        How many genres there are.
    rounds : int
        How many trees.
    depth : int
        Decisions from the root to a leaf.
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
        """Let the trees vote.

        Parameters
        ----------
        features : tensor [shape=(n, d), dtype=float32]
            What the trees ask about.

        Returns
        -------
        probabilities : tensor [shape=(n, genres), dtype=float32]
            Each row sums to 1.
        """
        nodes, leaves = 2**self._depth - 1, 2**self._depth
        asked = ops.take(features, ops.reshape(self.feature, (-1,)), axis=1)
        right = ops.cast(asked > ops.reshape(self.threshold, (-1,)), "float32")
        sides = ops.reshape(2.0 * right - 1.0, (-1, nodes))  # [n · rounds, nodes]
        agreeing = ops.matmul(sides, _paths(self._depth))
        reached = ops.cast(agreeing > self._depth - 0.5, "float32")
        votes = ops.reshape(self.votes, (-1, self._genres))
        mean = ops.matmul(ops.reshape(reached, (-1, self._rounds * leaves)), votes)
        return ops.softmax(self.sharpness * mean)

    def get_config(self) -> dict[str, int]:
        """Tell what the layer is built from.

        Returns
        -------
        config : dict of str to int
            The parameters.
        """
        return {"genres": self._genres, "rounds": self._rounds, "depth": self._depth}

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """Tell the shape of the probabilities.

        Parameters
        ----------
        input_shape : tuple
            Shape of the features, (n, d).

        Returns
        -------
        shape : tuple
            The pair (n, genres).
        """
        return (input_shape[0], self._genres)


def empty_boosted(features: int, *, genres: int, rounds: int, depth: int) -> keras.Model:
    """Build the model without trees, to load weights into.

    Parameters
    ----------
    features : int
        How many features a fragment has.
    genres : int
        How many genres there are.
    rounds : int
        How many trees there is room for.
    depth : int
        Decisions from the root of a tree to a leaf; 1 is a stump.

    Returns
    -------
    keras.Model
        Features [n, features] to probabilities [n, genres], float32, each row summing to 1.

    Raises
    ------
    ValueError
        If there are fewer than 2 genres, or rounds or depth are below 1.
    """
    if genres < 2 or rounds < 1 or depth < 1:
        raise ValueError(
            "Expected at least 2 genres, 1 round and a depth of 1. "
            f"Received: genres={genres}, rounds={rounds}, depth={depth}"
        )
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
) -> tuple[keras.Model, list[dict[str, float]]]:
    """Boost trees and keep as many rounds, as sharp, as are best on the validation split.

    Best is the round with the highest accuracy; among equals, the one with the lowest loss at its best sharpness.
    The trees of later rounds are left out.

    Parameters
    ----------
    features : np.ndarray [shape=(n, d), dtype=float16 or float32]
        Features of the training split.
    labels : np.ndarray [shape=(n,), dtype=int]
        Indexes of genres, each there at least once.
    sample_weights : np.ndarray [shape=(n,)] or None
        What a fragment counts at the start; None means the same for all.
    validation : pair of np.ndarray
        Features and labels of the validation split.
    genres : int
        How many genres there are.
    rounds : int
        How many trees to grow, at most.
    depth : int
        Decisions from the root of a tree to a leaf, at most; 1 is a stump.
    seed : int
        Decides between splits that are equally good.

    Returns
    -------
    model : keras.Model
        As `empty_boosted` builds it, with its trees.
    history : list of dict of str to float
        For every round that was grown: `loss`, `accuracy`, `val_loss`, `val_accuracy`. Growing ends early where a tree
        is perfect, or no better than chance.

    Raises
    ------
    ValueError
        If there are fewer than 2 genres, rounds or depth are below 1, or a genre is missing from the labels.
    """
    from sklearn.ensemble import AdaBoostClassifier
    from sklearn.tree import DecisionTreeClassifier

    model = empty_boosted(features.shape[1], genres=genres, rounds=rounds, depth=depth)
    if missing := sorted({*range(genres)} - {*labels.tolist()}):
        raise UserError(f"Boosting needs fragments of every genre to train on. Received: none with label {missing}")
    ensemble = AdaBoostClassifier(
        DecisionTreeClassifier(max_depth=depth), n_estimators=rounds, algorithm="SAMME", random_state=seed
    ).fit(features.astype(np.float32), labels, sample_weights)
    own, val_own = np.eye(genres)[labels], np.eye(genres)[validation[1]]
    promised = (len(val_own) + 1) / (len(val_own) + 2)
    promises = np.where(val_own, promised, (1 - promised) / (genres - 1))
    history, sharpnesses = [], []
    staged = (_staged_votes(ensemble, split) for split in (features, validation[0]))
    for votes, val_votes in zip(*staged, strict=True):
        losses = [_cross_entropy(sharpness * val_votes, promises) for sharpness in _SHARPNESSES]
        sharpness = float(_SHARPNESSES[np.argmin(losses)])
        sharpnesses.append(sharpness)
        history.append(
            {
                "loss": _cross_entropy(sharpness * votes, own),
                "accuracy": float(np.mean(votes.argmax(axis=1) == labels)),
                "val_loss": _cross_entropy(sharpness * val_votes, val_own),
                "val_accuracy": float(np.mean(val_votes.argmax(axis=1) == validation[1])),
            }
        )
    best = max(range(len(history)), key=lambda index: (history[index]["val_accuracy"], -history[index]["val_loss"]))
    plant(model, ensemble, rounds=best + 1, sharpness=sharpnesses[best])
    return model, history


def plant(model: keras.Model, ensemble: AdaBoostClassifier, *, rounds: int, sharpness: float) -> None:
    """Put scikit-learn's trees into a model.

    Parameters
    ----------
    model : keras.Model
        As `empty_boosted` builds it, with room for the trees; what it had is forgotten.
    ensemble : AdaBoostClassifier
        Fitted, over decision trees that are not deeper than the model's; its classes are 0, 1, 2 and so on.
    rounds : int
        How many of its trees to take, from the first.
    sharpness : float
        What the mean vote is multiplied by; with 1 the probabilities are scikit-learn's.
    """
    (trees,) = model.layers
    feature, threshold, votes = (np.zeros(weight.shape) for weight in (trees.feature, trees.threshold, trees.votes))
    genres = votes.shape[2]
    shares = ensemble.estimator_weights_[:rounds] / ensemble.estimator_weights_[:rounds].sum()
    for index, (tree, share) in enumerate(zip(ensemble.estimators_, shares, strict=False)):
        feature[index], threshold[index], answers = _completed(tree, votes.shape[1])
        votes[index] = share * np.where(np.eye(genres)[answers], 1, -1 / (genres - 1)) / (genres - 1)
    for weight, value in ((trees.feature, feature), (trees.threshold, threshold), (trees.votes, votes)):
        weight.assign(value)
    trees.sharpness.assign(sharpness)


def _completed(tree: DecisionTreeClassifier, leaves: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give feature and threshold of each node, level by level, and the answer of each leaf from left to right.

    A leaf above the last level becomes a node that always goes to the left, with itself on both sides.
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
    answers = tree.classes_[grown.value[nodes[leaves - 1 :], 0].argmax(axis=1)]
    # float32 is at most the threshold if and only if it is at most the next float32 below it
    rounded = threshold.astype(np.float32)
    return feature, np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded), answers


def _paths(depth: int) -> np.ndarray:
    """Tell for each node, level by level, and each leaf: its way is to the right, 1, or left, -1, or not there, 0."""
    paths = np.zeros((2**depth - 1, 2**depth), np.float32)
    for leaf in range(2**depth):
        node = 0
        for level in reversed(range(depth)):
            right = leaf >> level & 1
            paths[node, leaf] = 2 * right - 1
            node = 2 * node + 1 + right
    return paths


def _staged_votes(ensemble: AdaBoostClassifier, features: np.ndarray) -> Iterator[np.ndarray]:
    """Give the logarithms of scikit-learn's probabilities, up to a constant, after each round, [n, genres]."""
    for decision in ensemble.staged_decision_function(features.astype(np.float32)):
        if decision.ndim == 1:
            yield np.stack([-decision, decision], axis=1) / 2
        else:
            yield decision / (decision.shape[1] - 1)


def _cross_entropy(votes: np.ndarray, targets: np.ndarray) -> float:
    """Compare the softmax of votes with the probabilities they should be, both [n, genres]."""
    shifted = votes - votes.max(axis=1, keepdims=True)
    logarithms = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-np.mean((targets * logarithms).sum(axis=1)))

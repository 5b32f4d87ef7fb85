"""AdaBoost over aggregate features, after Bergstra et al. 2006; see `trainer.descriptors` and `trainer.boosting`.

It is not trained by gradients, so there is no two-level loss: with sub-genres it is trained on these alone, and the
probabilities of genres are sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tumbao.trainer.backbones import DESCRIPTORS
from tumbao.trainer.dataset import Fragments, class_weights, in_memory
from tumbao.trainer.lazy import keras
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.training import Training

DEPTH = 2
"""Decisions from the root of a tree to a leaf."""


def _train(
    train: Fragments, val: Fragments, training: Training, genres: Sequence[str]
) -> tuple[keras.Model, dict[str, Any]]:
    from tumbao.trainer.boosting import boosted_head

    features, labels = in_memory(train)
    weights = class_weights(train.counts) if training.class_weights == "auto" else None
    head, epochs, best = boosted_head(
        features,
        labels,
        np.array([weights[label] for label in labels]) if weights else None,
        validation=in_memory(val),
        genres=len(train.counts),
        rounds=training.epochs,
        depth=DEPTH,
        seed=training.seed,
    )
    return head, {"epochs": epochs, "best_epoch": best, "class_weights": weights}


def _empty(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    from tumbao.trainer.boosting import empty_boosted

    return empty_boosted(shape[0], genres=genres, rounds=training.epochs, depth=DEPTH)


ADABOOST = ModelSpec(
    name="adaboost",
    after="Bergstra et al.",
    summary="boosted trees over aggregate features",
    backbone=DESCRIPTORS,
    head=_empty,
    training={"epochs": 200},
    precisions=("float16",),  # quantized, thresholds of all columns would share one scale
    train=_train,
    used=("epochs", "class_weights", "augment", "seed"),
)

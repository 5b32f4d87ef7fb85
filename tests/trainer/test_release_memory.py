"""The memory of a head and of its optimizer is released."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tumbao.trainer import cross_validation
from tumbao.trainer.cross_validation import Fold
from tumbao.trainer.fit import train_head
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.training import Training

SHAPE = (2, 2, 512)
SETTINGS = Training(epochs=1, batch=4, units=(8,), dropout=0.25)


def values(variables: Sequence[Any]) -> int:
    """Count the numbers that variables hold now."""
    held = [tf.raw_ops.ReadVariableOp(resource=one.value.handle, dtype=one.dtype) for one in variables]
    return sum(int(tf.size(one)) for one in held)


def test_a_cross_validation_releases_its_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = []

    def once(*arguments: Any, **settings: Any) -> tuple[keras.Model, dict[str, Any]]:
        heads.append(train_head(*arguments, **settings))
        return heads[-1]

    monkeypatch.setattr(cross_validation, "train_head", once)
    labels = np.arange(6) % 2
    library = SimpleNamespace(genres=("cumbia", "salsa"), songs=("",) * 6, labels=labels)
    features = labels[:, None, None, None] + np.zeros((6, *SHAPE), np.float16)
    thirds = [np.array(rows) for rows in ([0, 1], [2, 3], [4, 5])]
    divisions = [Fold(fold, *thirds[fold:], *thirds[:fold]) for fold in range(3)]
    found = cross_validation.out_of_fold(find_model("vgg16-gap"), SETTINGS, library, [features], divisions, None)  # type: ignore[arg-type]
    assert np.isfinite(found).all()
    assert len(heads) == 3
    assert all(head.optimizer.built for head, _ in heads)
    assert sum(values([*head.variables, *head.optimizer.variables]) for head, _ in heads) == 0

"""The memory of a head and of its optimizer is released."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tumbao.trainer import cross_validation
from tumbao.trainer.cross_validation import Fold
from tumbao.trainer.dataset import Records
from tumbao.trainer.fit import release_memory, train_head
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.training import Training

SHAPE = (2, 2, 512)
SETTINGS = Training(epochs=1, batch=4, units=(8,), dropout=0.25)


def values(variables: Sequence[Any]) -> int:
    """Count the numbers that variables hold now."""
    held = [tf.raw_ops.ReadVariableOp(resource=one.value.handle, dtype=one.dtype) for one in variables]
    return sum(int(tf.size(one)) for one in held)


@pytest.fixture
def records(tmp_path: Path, write_features: Callable[..., str]) -> Records:
    return Records([write_features(tmp_path / "all.gz", [0, 1, 0, 1], SHAPE)], SHAPE, 2)


def train(records: Records, settings: Training = SETTINGS) -> tuple[keras.Model, dict[str, Any]]:
    return train_head(find_model("vgg16-gap"), records, records, settings, shape=SHAPE)


def test_the_memory_of_a_head_and_its_optimizer_is_released(records: Records) -> None:
    head, _ = train(records)
    variables = [*head.variables, *head.optimizer.variables]
    assert values(variables) > 3 * 512 * 8  # weights, and Adam's two moments of each
    release_memory(head)
    assert values(variables) == 0


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
    assert sum(values(head.variables) for head, _ in heads) == 0

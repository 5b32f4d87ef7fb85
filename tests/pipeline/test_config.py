"""Settings out of their range are refused by name."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tumbao.pipeline.config import PipelineConfig
from tumbao.trainer.peers.registry import peer

CONFIG = PipelineConfig(
    workspace="ws",
    manifests="ws/catalogs/0",
    genres=("cumbia", "salsa"),
    weights="",
    weights_digest="",
    policy="float32",
    push_to="ws/pushed",
)


def test_the_defaults_are_the_papers_training_and_the_issues_bounds() -> None:
    assert (CONFIG.model, CONFIG.training) == ("vgg16", peer("vgg16").settings())
    assert (CONFIG.training.epochs, CONFIG.training.batch, CONFIG.training.units) == (5, 32, (512, 64))
    assert (CONFIG.min_accuracy, CONFIG.min_recall, CONFIG.max_accuracy_drop) == (0.8, 0.5, 0.01)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("min_accuracy", 1.01, "between 0 and 1"),
        ("min_recall", -0.1, "between 0 and 1"),
        ("max_accuracy_drop", 2.0, "between 0 and 1"),
        ("tune", -1, "0 or more"),
        ("beam_args", ("--direct_num_workers=2",), "with a --runner among them"),
        ("genres", ("salsa",), "at least 2, each once"),
        ("genres", ("salsa", "salsa"), "at least 2, each once"),
        ("genres", ("salsa", "cum\nbia"), "at least 2, each once, without ends of lines"),  # labels.txt has one a line
    ],
)
def test_what_is_out_of_range_is_refused_by_name(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^Expected {name} {rule}") as refusal:
        dataclasses.replace(CONFIG, **{name: value})
    assert str(refusal.value).endswith(f"Received: {name}={value!r}")


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        ({"model": "adaboost"}, "Expected model that gradients train where.*Received: model='adaboost'"),
        ({"resume": "ws/head.keras"}, "Expected resume empty where there is a search.*resume='ws/head.keras'"),
    ],
)
def test_a_search_needs_dense_layers_and_begins_anew(other: dict[str, Any], rule: str) -> None:
    dataclasses.replace(CONFIG, **other)
    with pytest.raises(ValueError, match=rule):
        dataclasses.replace(CONFIG, tune=3, **other)


@pytest.mark.parametrize("edge", [{"min_accuracy": 0.0}, {"min_recall": 1.0}])
def test_the_edges_of_a_range_are_inside(edge: dict[str, Any]) -> None:
    assert dataclasses.asdict(dataclasses.replace(CONFIG, **edge)).items() >= edge.items()


def test_a_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONFIG.model = "cnn"  # type: ignore[misc]

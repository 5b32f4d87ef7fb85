"""Settings out of range are refused by name, and given settings replace the model's own."""

from __future__ import annotations

from typing import Any

import pytest

from tumbao.trainer.models.registry import find_model
from tumbao.trainer.training import Training


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("epochs", 0, "at least 1"),
        ("batch", 0, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("schedule", "linear", "constant or cosine"),
        ("patience", -1, "0 or more"),
        ("class_weights", "balanced", "auto or none"),
        ("units", (64, 0), "of at least 1 each"),
        ("dropout", 1.0, "at least 0 and below 1"),
        ("l2", -0.1, "0 or more"),
        ("label_smoothing", 1.0, "at least 0 and below 1"),
        ("mixup", -1.0, "0 or more"),
        ("augment", -1, "0 or more"),
        ("fine_tune", -1, "0 or more"),
    ],
)
def test_values_out_of_range_are_refused_by_name(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^Expected {name} {rule}") as refusal:
        Training(**{name: value})
    assert str(refusal.value).endswith(f"Received: {name}={value!r}")


def test_given_settings_replace_the_models_own() -> None:
    gap = find_model("vgg16-gap")
    assert gap.settings() == Training(**gap.training)
    assert gap.settings(dropout=0.0, seed=9) == Training(**{**gap.training, "dropout": 0.0, "seed": 9})


def test_an_unknown_model_is_refused_with_a_guess() -> None:
    with pytest.raises(ValueError, match=r"out of vgg16.*Received: 'vgg16_gap'\. Did you mean vgg16-gap\?"):
        find_model("vgg16_gap")

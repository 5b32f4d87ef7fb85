"""Settings out of range are refused by name, and given settings replace the model's own."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tumbao.trainer.models.registry import find_model
from tumbao.trainer.training import Training


def test_values_out_of_range_are_refused_by_name() -> None:
    wrong = {"epochs": 0, "learning_rate": float("nan"), "schedule": "linear", "units": (64, 0), "dropout": 1.0}
    with pytest.raises(ValidationError) as refusal:
        Training(**wrong)  # type: ignore[arg-type]
    assert [error["loc"][0] for error in refusal.value.errors()] == [*wrong]


def test_given_settings_replace_the_models_own() -> None:
    gap = find_model("vgg16-gap")
    assert gap.settings() == Training(**gap.training)
    assert gap.settings(dropout=0.0, seed=9) == Training(**{**gap.training, "dropout": 0.0, "seed": 9})


def test_an_unknown_model_is_refused_with_a_guess() -> None:
    with pytest.raises(ValueError, match=r"out of vgg16.*Received: 'vgg16_gap'\. Did you mean vgg16-gap\?"):
        find_model("vgg16_gap")

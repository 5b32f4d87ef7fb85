"""A new model is compared with the latest other blessed one, never with itself."""

from __future__ import annotations

import pytest
from tfx.types.standard_artifacts import Model, ModelBlessing

from tumbao.components.baseline import CANDIDATE, LatestOtherBlessedModel


def model(number: int) -> Model:
    artifact = Model()
    artifact.id = number
    return artifact


def blessing(number: int, of: int, blessed: bool) -> ModelBlessing:
    artifact = ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("current_model_id", of)
    artifact.set_int_custom_property("blessed", int(blessed))
    return artifact


BLESSINGS = [(11, 1, True), (12, 2, True), (13, 3, False), (14, 4, True)]


@pytest.mark.parametrize(
    ("candidate", "models", "baseline"),
    [
        (4, [1, 2, 3, 4], (2, 12)),
        (5, [1, 2, 3, 4, 5], (4, 14)),
        (3, [1, 2, 3], (2, 12)),
        (1, [4, 2, 1], (4, 14)),
    ],
    ids=["blessed itself", "new", "refused itself", "older than others"],
)
def test_the_latest_other_blessed_model_is_found(candidate: int, models: list[int], baseline: tuple[int, int]) -> None:
    resolved = LatestOtherBlessedModel().resolve_artifacts(
        None,
        {
            "model": [model(number) for number in models],
            "model_blessing": [blessing(*one) for one in BLESSINGS],
            CANDIDATE: [model(candidate)],
        },
    )
    assert resolved is not None
    assert {key: [one.id for one in found] for key, found in resolved.items()} == {
        "model": [baseline[0]],
        "model_blessing": [baseline[1]],
        CANDIDATE: [],
    }


@pytest.mark.parametrize(
    ("models", "blessings"),
    [([1], []), ([1], BLESSINGS[:1]), ([1, 3], [BLESSINGS[0], BLESSINGS[2]])],
    ids=["first run", "second run of the same model", "only refused ones"],
)
def test_where_no_other_model_is_blessed_there_is_no_baseline(
    models: list[int], blessings: list[tuple[int, int, bool]]
) -> None:
    resolved = LatestOtherBlessedModel().resolve_artifacts(
        None,
        {
            "model": [model(number) for number in models],
            "model_blessing": [blessing(*one) for one in blessings],
            CANDIDATE: [model(1)],
        },
    )
    assert resolved == {"model": [], "model_blessing": [], CANDIDATE: []}

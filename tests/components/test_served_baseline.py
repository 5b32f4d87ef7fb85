"""The model that stands at the push place is the one to beat; without one there is no baseline."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tfx.components.evaluator import executor
from tfx.types import standard_artifacts

from tumbao.components import model_registry, registry_log
from tumbao.components.evaluator import EvaluatorExecutor
from tumbao.components.served_baseline import ServedBaseline, has_model
from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE

GENRES = ["cumbia", "salsa"]


def write_model(folder: Path, name: str, genres: list[str], spec: MelSpec) -> Path:
    """Write what tells one model from another."""
    (folder / ASSETS_FOLDER).mkdir(parents=True)
    (folder / model_registry.SAVED_MODEL_FILE).write_text(name)
    (folder / model_registry.FINGERPRINT_FILE).write_text(name)
    told = {"genres": genres, "mel": dataclasses.asdict(spec)}
    (folder / ASSETS_FOLDER / INFO_FILE).write_text(json.dumps(told))
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "pushed"


def baseline(place: Path, folder: Path, candidate: str = "candidate") -> standard_artifacts.Model:
    trained, found = standard_artifacts.Model(), standard_artifacts.Model()
    trained.uri, found.uri = str(folder / "trained"), str(folder / "baseline")
    write_model(folder / "trained" / "Format-Serving", candidate, GENRES, MelSpec())
    spec = json.dumps(dataclasses.asdict(MelSpec()))
    ServedBaseline.test_call(
        candidate=trained, model=found, registry=str(place), genres=json.dumps(GENRES), mel_spec=spec
    )
    return found


def said(model: standard_artifacts.Model) -> str:
    return Path(model.uri, "Format-Serving", model_registry.SAVED_MODEL_FILE).read_text()


def test_without_a_pushed_model_there_is_none(place: Path, tmp_path: Path) -> None:
    assert not has_model(baseline(place, tmp_path))


def test_the_newest_is_taken(place: Path, tmp_path: Path) -> None:
    write_model(place / "9", "old", GENRES, MelSpec())
    write_model(place / "10", "new", GENRES, MelSpec())
    assert said(baseline(place, tmp_path)) == "new"


def test_the_candidate_is_not_compared_with_itself(place: Path, tmp_path: Path) -> None:
    write_model(place / "9", "old", GENRES, MelSpec())
    write_model(place / "10", "candidate", GENRES, MelSpec())
    assert said(baseline(place, tmp_path)) == "old"


@pytest.mark.parametrize(("genres", "spec"), [(["salsa", "cumbia"], MelSpec()), (GENRES, FINE)])
def test_a_model_with_another_task_is_passed_over(
    genres: list[str], spec: MelSpec, place: Path, tmp_path: Path
) -> None:
    write_model(place / "9", "old", GENRES, MelSpec())
    write_model(place / "10", "another", genres, spec)
    assert said(baseline(place, tmp_path)) == "old"


def test_a_withdrawn_model_is_passed_over(place: Path, tmp_path: Path) -> None:
    write_model(place / "9", "old", GENRES, MelSpec())
    withdrawn = model_registry.fingerprint(str(write_model(place / "10", "bad", GENRES, MelSpec())))
    about: dict[str, Any] = {"why": "", "model": "vgg16", "accuracy": 0.9}
    events = [
        registry_log.Event(what=registry_log.PUSHED, version="10", replaces="9", fingerprint=withdrawn, **about),
        registry_log.Event(
            what=registry_log.ROLLED_BACK,
            version="11",
            replaces="10",
            withdrawn=withdrawn,
            fingerprint=model_registry.fingerprint(str(place / "9")),
            **about,
        ),
    ]
    for event in events:
        registry_log.append(str(place), event)
    assert said(baseline(place, tmp_path)) == "old"


@pytest.mark.parametrize("stands", [True, False])
def test_the_evaluator_takes_an_empty_baseline_for_none(
    stands: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(executor.Executor, "Do", lambda self, inputs, outputs, properties: asked.append(inputs))
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "baseline")
    if stands:
        write_model(tmp_path / "baseline" / "Format-Serving", "old", GENRES, MelSpec())
    EvaluatorExecutor().Do({"model": [], "baseline_model": [model]}, {}, {})
    assert asked == [{"model": [], "baseline_model": [model]} if stands else {"model": []}]

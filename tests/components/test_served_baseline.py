"""The baseline is the newest pushed model with the same task, or the latest other blessed one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.components.evaluator import executor
from tfx.types.standard_artifacts import Model, ModelBlessing

from tumbao.components.evaluator import EvaluatorExecutor
from tumbao.components.model_registry import (
    FINGERPRINT_FILE,
    ROLLED_BACK,
    SAVED_MODEL_FILE,
    Event,
    fingerprint,
    log_event,
    publish,
)
from tumbao.components.served_baseline import CANDIDATE, ServedBaseline, ServedOrLatestBlessedModel, has_model
from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.serving.model_info import ASSETS_FOLDER, INFO_FILE

GENRES = ["cumbia", "salsa"]


def write_model(folder: Path, name: str, genres: list[str], spec: MelSpec) -> Path:
    """Write the files by which models are distinguished."""
    (folder / ASSETS_FOLDER).mkdir(parents=True)
    (folder / SAVED_MODEL_FILE).write_text(name)
    (folder / FINGERPRINT_FILE).write_text(name)
    info = {"genres": genres, "mel": dataclasses.asdict(spec)}
    (folder / ASSETS_FOLDER / INFO_FILE).write_text(json.dumps(info))
    return folder


def baseline(registry: Path, folder: Path, candidate: str = "candidate") -> Model:
    trained, found = Model(), Model()
    trained.uri, found.uri = str(folder / "trained"), str(folder / "baseline")
    write_model(folder / "trained" / "Format-Serving", candidate, GENRES, MelSpec())
    spec = json.dumps(dataclasses.asdict(MelSpec()))
    ServedBaseline.test_call(
        candidate=trained, model=found, registry=str(registry), genres=json.dumps(GENRES), mel_spec=spec
    )
    return found


def content(model: Model) -> str:
    return Path(model.uri, "Format-Serving", SAVED_MODEL_FILE).read_text()


@pytest.mark.parametrize(
    ("pushed", "expected", "removed"),
    [
        ([], "", ""),
        ([("9", "old", GENRES, MelSpec()), ("10", "new", GENRES, MelSpec())], "new", ""),
        ([("9", "old", GENRES, MelSpec()), ("10", "new", GENRES, MelSpec())], "old", "new"),
        ([("9", "old", GENRES, MelSpec()), ("10", "candidate", GENRES, MelSpec())], "old", ""),
        ([("9", "old", GENRES, MelSpec()), ("10", "new", ["salsa", "cumbia"], MelSpec())], "old", ""),
        ([("9", "old", GENRES, MelSpec()), ("10", "new", GENRES, FINE)], "old", ""),
    ],
    ids=["nothing pushed", "newest", "rolled back", "candidate itself", "other genres", "other images"],
)
def test_the_newest_pushed_model_with_the_same_task_is_the_baseline(
    pushed: list[tuple[str, str, list[str], MelSpec]], expected: str, removed: str, tmp_path: Path
) -> None:
    registry = tmp_path / "pushed"
    for version, name, genres, spec in pushed:
        own = fingerprint(str(write_model(registry / version, name, genres, spec)))
        if name == removed:
            rollback = Event(what=ROLLED_BACK, version="11", replaces=version, fingerprint="", withdrawn=own, why="")
            log_event(str(registry), rollback)
    found = baseline(registry, tmp_path)
    assert has_model(found) == bool(expected)
    assert not expected or content(found) == expected


@pytest.mark.parametrize("exists", [True, False])
def test_the_evaluator_accepts_an_empty_baseline(exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[dict[str, Any]] = []
    monkeypatch.setattr(executor.Executor, "Do", lambda self, inputs, outputs, properties: received.append(inputs))
    model = Model()
    model.uri = str(tmp_path / "baseline")
    if exists:
        write_model(tmp_path / "baseline" / "Format-Serving", "old", GENRES, MelSpec())
    EvaluatorExecutor().Do({"model": [], "baseline_model": [model]}, {}, {})
    assert received == [{"model": [], "baseline_model": [model]} if exists else {"model": []}]


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


SALSA = (["cumbia", "salsa"], 300)
"""A task: genres and the height of the images."""


def store(tasks: dict[int, tuple[list[str], int]]) -> mlmd.MetadataStore:
    """Store models by their number, each made by a Trainer for its task."""
    memory = metadata_store_pb2.ConnectionConfig()
    memory.fake_database.SetInParent()
    store = mlmd.MetadataStore(memory)
    model_type = store.put_artifact_type(metadata_store_pb2.ArtifactType(name="Model"))
    trainer = store.put_execution_type(metadata_store_pb2.ExecutionType(name="Trainer"))
    for number, (genres, height) in sorted(tasks.items()):
        execution = metadata_store_pb2.Execution(type_id=trainer)
        config = {"genres": genres, "mel_spec": {"image_height": height}, "training": {"seed": number}}
        execution.custom_properties["custom_config"].string_value = json.dumps(config)
        event = metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)
        artifact = metadata_store_pb2.Artifact(type_id=model_type, uri=str(number))
        _, (made,), _ = store.put_execution(execution, [(artifact, event)], [])
        assert made == number
    return store


BLESSINGS = [(11, 1, True), (12, 2, True), (13, 3, False), (14, 4, True)]
"""Number of the blessing, number of the model, and the decision."""

DECIDED_AGAIN = [*BLESSINGS, (15, 4, False), (16, 2, False), (17, 2, True)]


def resolve(
    candidate: Model,
    models: list[Model],
    blessings: list[tuple[int, int, bool]],
    fourth: tuple[list[str], int] = SALSA,
    registry: str = "no/such/registry",
) -> list[int]:
    """Return the numbers of the resolved models and of their blessings; the fourth model has a task of its own."""
    resolved = ServedOrLatestBlessedModel(registry).resolve_artifacts(
        store({1: SALSA, 2: SALSA, 3: SALSA, 4: fourth, 5: SALSA}),
        {"model": models, "model_blessing": [blessing(*one) for one in blessings], CANDIDATE: [candidate]},
    )
    assert resolved is not None
    assert resolved[CANDIDATE] == []
    return [one.id for one in (*resolved["model"], *resolved["model_blessing"])]


@pytest.mark.parametrize(
    ("candidate", "models", "blessings", "fourth", "expected"),
    [
        (4, [1, 2, 3, 4], BLESSINGS, SALSA, [2, 12]),
        (5, [1, 2, 3, 4, 5], BLESSINGS, SALSA, [4, 14]),
        (3, [1, 2, 3], BLESSINGS, SALSA, [2, 12]),
        (1, [4, 2, 1], BLESSINGS, SALSA, [4, 14]),
        (1, [1], [], SALSA, []),
        (1, [1], BLESSINGS[:1], SALSA, []),
        (1, [1, 3], [BLESSINGS[0], BLESSINGS[2]], SALSA, []),
        (5, [1, 2, 3, 4, 5], DECIDED_AGAIN, SALSA, [2, 17]),
        (5, [5, 4, 3, 2, 1], DECIDED_AGAIN[::-1], SALSA, [2, 17]),
        (5, [1, 2, 3, 4], BLESSINGS, (["tango"], 300), [2, 12]),
        (5, [1, 2, 3, 4], BLESSINGS, (["cumbia", "salsa"], 96), [2, 12]),
    ],
    ids=[
        *("blessed itself", "new", "refused itself", "older than others", "first run", "second run", "only refused"),
        *("decided again", "in another order", "other genres", "other images"),
    ],
)
def test_the_latest_other_blessed_model_with_the_same_task_is_found(
    candidate: int,
    models: list[int],
    blessings: list[tuple[int, int, bool]],
    fourth: tuple[list[str], int],
    expected: list[int],
) -> None:
    assert resolve(model(candidate), [*map(model, models)], blessings, fourth) == expected


@pytest.fixture
def saved(tmp_path: Path) -> dict[int, Model]:
    """SavedModels with the fingerprints of models 1 to 5."""
    models = {number: model(number) for number in range(1, 6)}
    for number, one in models.items():
        one.uri = str(tmp_path / "models" / str(number))
        write_model(Path(one.uri, "Format-Serving"), f"model {number}", GENRES, MelSpec())
    return models


@pytest.mark.parametrize(
    ("pushed", "taken_back", "candidate", "baseline"),
    [
        ([1], {}, 5, [1]),
        ([1, 2, 4], {}, 5, [4]),
        ([1, 2, 4], {4: 1}, 5, [1]),
        ([1, 2, 4], {4: 1}, 4, [1]),
        ([1, 2, 4], {4: 1}, 1, [2]),
        ([], {}, 5, [4]),
    ],
    ids=["served", "latest", "rolled back", "the removed again", "the served again", "nothing pushed"],
)
def test_the_newest_pushed_model_is_the_baseline_unless_a_rollback_removed_it(
    tmp_path: Path,
    saved: dict[int, Model],
    pushed: list[int],
    taken_back: dict[int, int],
    candidate: int,
    baseline: list[int],
) -> None:
    registry = str(tmp_path / "pushed")
    folders = {number: f"{one.uri}/Format-Serving" for number, one in saved.items()}
    for number in pushed:
        publish(folders[number], registry)
    for withdrawn, again in taken_back.items():
        own, other = (fingerprint(folders[number]) for number in (again, withdrawn))
        publish(folders[again], registry)
        event = Event(what=ROLLED_BACK, version="9", replaces="3", fingerprint=own, withdrawn=other, why="")
        log_event(registry, event)
    models = [saved[number] for number in range(1, 5)]
    assert resolve(saved[candidate], models, BLESSINGS, registry=registry)[:1] == baseline


def test_a_served_model_of_another_workspace_gives_a_warning(
    tmp_path: Path, saved: dict[int, Model], caplog: pytest.LogCaptureFixture
) -> None:
    registry = str(tmp_path / "pushed")
    version = publish(f"{saved[4].uri}/Format-Serving", registry)
    for known, warnings in ((range(1, 5), 0), (range(1, 4), 1)):
        caplog.clear()
        resolve(saved[5], [saved[number] for number in known], BLESSINGS, registry=registry)
        assert caplog.text.count(f"The served model, {registry}/{version}, was not trained in this wor") == warnings

"""The model that stands at the push place is the one to beat; without one there is no baseline."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.components.evaluator import executor
from tfx.types import standard_artifacts
from tfx.types.standard_artifacts import Model, ModelBlessing

from tumbao.components import model_registry, registry_log
from tumbao.components.evaluator import EvaluatorExecutor
from tumbao.components.model_registry import fingerprint, publish
from tumbao.components.served_baseline import CANDIDATE, ServedBaseline, ServedOrLatestBlessedModel, has_model
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


def test_a_removed_model_is_passed_over(place: Path, tmp_path: Path) -> None:
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


SALSA, TANGO, OTHER_IMAGES = (["cumbia", "salsa"], 300), (["tango"], 300), (["cumbia", "salsa"], 96)
"""Tasks: genres and the height of the images."""


def store(tasks: dict[int, tuple[list[str], int]]) -> mlmd.MetadataStore:
    """Remember models by their number, each made by a Trainer for its task."""
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


NOWHERE = "no/place/to/push/to"
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
    resolved = ServedOrLatestBlessedModel(NOWHERE).resolve_artifacts(
        store(dict.fromkeys(range(1, 6), SALSA)),
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


@pytest.mark.parametrize("turned", [False, True])
def test_the_latest_verdict_on_a_model_counts_whatever_order_they_come_in(turned: bool) -> None:
    verdicts = [*BLESSINGS, (15, 4, False), (16, 2, False), (17, 2, True)]
    resolved = ServedOrLatestBlessedModel(NOWHERE).resolve_artifacts(
        store(dict.fromkeys(range(1, 6), SALSA)),
        {
            "model": [model(number) for number in range(1, 6)][:: -1 if turned else 1],
            "model_blessing": [blessing(*one) for one in verdicts][:: -1 if turned else 1],
            CANDIDATE: [model(5)],
        },
    )
    assert resolved is not None
    assert [one.id for key in ("model", "model_blessing") for one in resolved[key]] == [2, 17]


@pytest.mark.parametrize(
    ("models", "blessings"),
    [([1], []), ([1], BLESSINGS[:1]), ([1, 3], [BLESSINGS[0], BLESSINGS[2]])],
    ids=["first run", "second run of the same model", "only refused ones"],
)
def test_where_no_other_model_is_blessed_there_is_no_baseline(
    models: list[int], blessings: list[tuple[int, int, bool]]
) -> None:
    resolved = ServedOrLatestBlessedModel(NOWHERE).resolve_artifacts(
        store(dict.fromkeys(range(1, 6), SALSA)),
        {
            "model": [model(number) for number in models],
            "model_blessing": [blessing(*one) for one in blessings],
            CANDIDATE: [model(1)],
        },
    )
    assert resolved == {"model": [], "model_blessing": [], CANDIDATE: []}


@pytest.mark.parametrize(
    ("other", "found"), [(SALSA, [4]), (TANGO, [2]), (OTHER_IMAGES, [2])], ids=["same", "genres", "images"]
)
def test_a_model_of_another_task_is_no_baseline(other: tuple[list[str], int], found: list[int]) -> None:
    resolved = ServedOrLatestBlessedModel(NOWHERE).resolve_artifacts(
        store({1: SALSA, 2: SALSA, 3: SALSA, 4: other, 5: SALSA}),
        {
            "model": [model(number) for number in (1, 2, 3, 4)],
            "model_blessing": [blessing(*one) for one in BLESSINGS],
            CANDIDATE: [model(5)],
        },
    )
    assert resolved is not None
    assert [one.id for one in resolved["model"]] == found


@pytest.fixture
def saved(tmp_path: Path) -> dict[int, Path]:
    """SavedModels with the fingerprints of models 1 to 5."""
    folders = {number: tmp_path / "models" / str(number) for number in range(1, 6)}
    for number, folder in folders.items():
        serving = folder / "Format-Serving"
        serving.mkdir(parents=True)
        (serving / "saved_model.pb").touch()
        (serving / "fingerprint.pb").write_text(f"model {number}")
    return folders


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
    saved: dict[int, Path],
    pushed: list[int],
    taken_back: dict[int, int],
    candidate: int,
    baseline: list[int],
) -> None:
    place = str(tmp_path / "pushed")
    for number in pushed:
        publish(str(saved[number] / "Format-Serving"), place)
    for withdrawn, again in taken_back.items():
        own, other = (fingerprint(str(saved[number] / "Format-Serving")) for number in (again, withdrawn))
        publish(str(saved[again] / "Format-Serving"), place)
        event = registry_log.Event(
            what=registry_log.ROLLED_BACK, version="9", replaces="3", fingerprint=own, withdrawn=other, why=""
        )
        registry_log.append(place, event)
    models = [model(number) for number in saved]
    for one in models:
        one.uri = str(saved[one.id])
    resolved = ServedOrLatestBlessedModel(place).resolve_artifacts(
        store(dict.fromkeys(saved, SALSA)),
        {
            "model": models[:4],
            "model_blessing": [blessing(*one) for one in BLESSINGS],
            CANDIDATE: [one for one in models if one.id == candidate],
        },
    )
    assert resolved is not None
    assert [one.id for one in resolved["model"]] == baseline


def test_a_served_model_of_another_workspace_gives_a_warning(
    tmp_path: Path, saved: dict[int, Path], caplog: pytest.LogCaptureFixture
) -> None:
    place = str(tmp_path / "pushed")
    version = publish(str(saved[4] / "Format-Serving"), place)
    models = [model(number) for number in saved]
    for one in models:
        one.uri = str(saved[one.id])
    for known, told in ((models[:4], 0), (models[:3], 1)):
        caplog.clear()
        ServedOrLatestBlessedModel(place).resolve_artifacts(
            store(dict.fromkeys(saved, SALSA)),
            {
                "model": known,
                "model_blessing": [blessing(*one) for one in BLESSINGS],
                CANDIDATE: [one for one in models if one.id == 5],
            },
        )
        assert caplog.text.count(f"The served model, {place}/{version}, was not trained in this workspace") == told

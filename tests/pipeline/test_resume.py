"""Training goes on only from a head that learned from the same songs: others may know songs that are test songs now."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2

from tumbao.pipeline.config import UsageError, parse
from tumbao.pipeline.execution import _changed
from tumbao.pipeline.resolve import Resolved
from tumbao.pipeline.resume import head_to_resume
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.schema.record import SPLITS
from tumbao.trainer.weights import WeightsFile

COLUMNS = ("song", "sha256", "start", "end", "genre", "fragments")
SONGS = {"a": "train", "b": "train", "c": "val", "d": "test"}


def manifests(folder: Path, songs: Mapping[str, str], genre: str = "salsa") -> str:
    """Write the manifests of songs: name → split."""
    folder.mkdir()
    for split in SPLITS:
        with (folder / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows((song, f"hash of {song}", 0.0, "", genre, "") for song in songs if songs[song] == split)
    return str(folder)


class Workspace:
    """ML Metadata of runs that trained heads."""

    def __init__(self) -> None:
        memory = metadata_store_pb2.ConnectionConfig()
        memory.fake_database.SetInParent()
        self.store = mlmd.MetadataStore(memory)
        self._artifacts = {
            name: self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name=name))
            for name in ("Examples", "ModelRun")
        }
        self._kind = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="component"))
        self._runs = 0

    def _execute(
        self, properties: Mapping[str, str], kind: str, inputs: Sequence[Any] = (), key: str = "examples"
    ) -> Any:
        execution = metadata_store_pb2.Execution(type_id=self._kind)
        for name, value in properties.items():
            execution.custom_properties[name].string_value = value
        self._runs += 1
        live = metadata_store_pb2.Artifact.LIVE
        made = metadata_store_pb2.Artifact(type_id=self._artifacts[kind], uri=f"{kind}/{self._runs}", state=live)
        events = [(one, metadata_store_pb2.Event(type=metadata_store_pb2.Event.INPUT)) for one in inputs]
        for _, event in events:
            event.path.steps.add().key = key
        events.append((made, metadata_store_pb2.Event(type=metadata_store_pb2.Event.OUTPUT)))
        _, numbers, _ = self.store.put_execution(execution, events, [])
        (found,) = self.store.get_artifacts_by_id(numbers[-1:])
        return found

    def train(self, config: Resolved, tuned: bool = False) -> str:
        """Run the components that lead to a head, and tell where it lies."""
        examples = self._execute({"manifests": config.manifests}, "Examples")
        features = self._execute({"backbone": "vgg16"}, "Examples", [examples])
        told = {
            "genres": config.genres,
            "model": config.config.model.name,
            "training": dataclasses.asdict(config.config.head),
            "weights": config.weights_file,
            "resume": config.resume,
            "mel_spec": dataclasses.asdict(config.mel_spec),
        }
        key = "hyperparameters" if tuned else "examples"
        return f"{self._execute({'custom_config': json.dumps(told)}, 'ModelRun', [features], key).uri}/head.keras"


@pytest.fixture
def config(tmp_path: Path) -> Resolved:
    return Resolved(
        config=parse({}),
        catalog=mock.Mock(),
        genres=("cumbia", "salsa"),
        manifests=manifests(tmp_path / "same", SONGS),
        mel_spec=MelSpec(),
        weights=WeightsFile(None, "", None),
        weights_file="vgg16.h5",
        policy="float32",
    )


def trained(config: Resolved, **training: Any) -> Resolved:
    return dataclasses.replace(config, config=config.config.replace(training=training))


def test_the_newest_head_of_the_same_songs_is_taken(config: Resolved, tmp_path: Path) -> None:
    workspace = Workspace()
    workspace.train(config)
    newest = workspace.train(trained(config, epochs=9, dropout=0.5))
    workspace.train(dataclasses.replace(config, manifests=manifests(tmp_path / "other", SONGS | {"e": "train"})))
    listed_again = manifests(tmp_path / "again", SONGS)
    for now in (config, trained(dataclasses.replace(config, manifests=listed_again), l2=0.1)):
        assert head_to_resume(workspace.store, now) == newest
    later = workspace.train(dataclasses.replace(config, resume=newest))
    assert head_to_resume(workspace.store, config) == later


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"songs": SONGS | {"e": "train"}}, "another library or split: 0 songs are new and 1 are gone; 0 of the test"),
        ({"songs": {"a": "test", "b": "train", "c": "val", "d": "train"}}, "divided otherwise; 1 of the test songs"),
        ({"songs": SONGS, "genre": "cumbia"}, "another library or split: 4 songs are new and 4 are gone"),
        ({"training": {"seed": 8}}, "had the seed 8, not 7"),
        ({"training": {"units": [8]}}, "has dense layers of (8,), not (512, 64)"),
        ({"training": {"fine_tune": 2}}, "was trained with --fine-tune"),
        ({"genres": ("salsa", "cumbia")}, "knows the genres salsa, cumbia, not cumbia, salsa"),
        ({"model": {"name": "vgg16-gap"}}, "is of the model vgg16-gap, not vgg16"),
        ({"mel_spec": FINE}, "images that are drawn in another way"),
        ({"weights_file": ""}, "features of other weights"),
    ],
)
def test_a_head_of_another_run_is_refused_with_the_reason_and_the_remedy(
    config: Resolved, tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    workspace = Workspace()
    if songs := changed.pop("songs", None):
        changed = {"manifests": manifests(tmp_path / "other", songs, changed.pop("genre", "salsa"))}
    sections = {name: changed.pop(name) for name in ("training", "model") if name in changed}
    workspace.train(dataclasses.replace(config, config=config.config.replace(**sections), **changed))
    with pytest.raises(
        ValueError, match=r"^Expected an earlier run with the same songs.*Leave --resume out"
    ) as refusal:
        head_to_resume(workspace.store, config)
    assert reason in str(refusal.value)


def test_a_head_that_went_on_from_one_of_other_songs_is_refused(config: Resolved, tmp_path: Path) -> None:
    workspace = Workspace()
    other = manifests(tmp_path / "other", {"a": "test", "b": "train", "c": "val", "d": "train"})
    foreign = workspace.train(dataclasses.replace(config, manifests=other))
    workspace.train(dataclasses.replace(config, resume=foreign))
    with pytest.raises(ValueError, match="went on from a head that was trained on another library or split"):
        head_to_resume(workspace.store, config)
    workspace.train(dataclasses.replace(config, resume="swept away/head.keras"))
    with pytest.raises(ValueError, match="went on from a head that is not known any more"):
        head_to_resume(workspace.store, config)


def test_a_head_whose_settings_a_search_found_is_refused(config: Resolved) -> None:
    workspace = Workspace()
    workspace.train(config, tuned=True)
    with pytest.raises(UserError, match="the newest one was trained with the settings that a search"):
        head_to_resume(workspace.store, config)
    workspace.train(config)
    assert head_to_resume(workspace.store, config)


def test_a_head_whose_list_of_songs_is_gone_is_refused(config: Resolved) -> None:
    workspace = Workspace()
    workspace.train(dataclasses.replace(config, manifests="swept away"))
    with pytest.raises(ValueError, match=r"songs whose list is gone \(swept away\)"):
        head_to_resume(workspace.store, config)


def test_a_model_that_cannot_go_on_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Expected model\.name: that gradients train"):
        parse({"model": {"name": "adaboost"}, "runner": {"resume": True}})


def test_what_is_taken_over_must_not_have_changed() -> None:
    def execution(**properties: Any) -> Any:
        made = metadata_store_pb2.Execution()
        for name, value in properties.items():
            setattr(made.custom_properties[name], "int_value" if isinstance(value, int) else "string_value", value)
        return made

    class Node:
        def __init__(self, name: str, *above: Any, **properties: Any) -> None:
            self.id, self.upstream_nodes, self.exec_properties = name, set(above), properties

    def config(**told: Any) -> str:
        return json.dumps({"training": {"epochs": 5}, "code": "new", "resume": ""} | told)

    songs = Node("Songs", manifests="now", code="new")
    features = Node("Features", songs, augment=2)
    trainer = Node("Trainer", features, custom_config=config())
    evaluator = Node("Evaluator", trainer, thresholds="now")
    pipeline = SimpleNamespace(components=[songs, features, trainer, evaluator])
    former = {
        "Songs": execution(manifests="then", code="old"),
        "Features": execution(augment=2),
        "Trainer": execution(custom_config=config(training={"epochs": 6}, code="old", resume="x")),
        "Evaluator": execution(thresholds="then"),
    }
    assert list(_changed(pipeline, "Songs", former)) == []
    assert list(_changed(pipeline, "Trainer", former)) == ["Songs (manifests)"]
    assert list(_changed(pipeline, "Evaluator", former)) == ["Songs (manifests)", "Trainer (training)"]
    former["Features"] = execution(augment=0)
    assert list(_changed(pipeline, "Trainer", former)) == ["Songs (manifests)", "Features (augment)"]

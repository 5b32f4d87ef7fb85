"""Training is resumed only from a head of the same songs: another may have been trained on present test songs."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from ml_metadata.proto import metadata_store_pb2

from tests.pipeline.metadata_store import Metadata
from tumbao.pipeline.config import parse
from tumbao.pipeline.execution import _require_unchanged
from tumbao.pipeline.metadata import head_to_resume
from tumbao.pipeline.resolve import Resolved, exec_properties
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


class Trainings:
    def __init__(self, workspace: Path) -> None:
        self._metadata = Metadata(workspace)
        self.store = self._metadata.store
        self._runs = 0

    def train(self, config: Resolved) -> str:
        self._runs += 1
        head = f"ModelRun/{self._runs}"
        output = {"model_run": self._metadata.artifact(head, "ModelRun")}
        with mock.patch("tumbao.pipeline.resolve.table_rows", return_value=[]):  # the manifests may be missing
            properties = {"custom_config": exec_properties(config)["trainer"]}
        self._metadata.execute(f"run {self._runs}", "Trainer", output, properties=properties)
        return f"{head}/head.keras"


@pytest.fixture
def trainings(tmp_path: Path) -> Trainings:
    return Trainings(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> Resolved:
    return Resolved(
        config=parse({"model": {"name": "vgg16"}}),
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


def test_the_newest_head_of_the_same_songs_is_resumed(trainings: Trainings, config: Resolved, tmp_path: Path) -> None:
    trainings.train(config)
    newest = trainings.train(trained(config, epochs=9, dropout=0.5))
    trainings.train(dataclasses.replace(config, manifests=manifests(tmp_path / "other", SONGS | {"e": "train"})))
    listed_again = manifests(tmp_path / "again", SONGS)
    for now in (config, trained(dataclasses.replace(config, manifests=listed_again), l2=0.1)):
        assert head_to_resume(trainings.store, now) == newest
    later = trainings.train(dataclasses.replace(config, resume=newest))
    assert head_to_resume(trainings.store, config) == later


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"songs": SONGS | {"e": "train"}}, "was trained on another library or split"),
        ({"songs": SONGS | {"a": "test", "d": "train"}}, "was trained on another library or split"),
        ({"songs": SONGS, "genre": "cumbia"}, "was trained on another library or split"),
        ({"manifests": "missing"}, "was trained on songs whose list is missing (missing)"),
        ({"training": {"seed": 8}}, "has another seed: 8, not 7"),
        ({"training": {"units": [8]}}, "has another number of units: (8,), not (512, 64)"),
        ({"training": {"fine_tune": 2}}, "has another fine_tune: True, not False"),
        ({"genres": ("salsa", "cumbia")}, "has another list of genres: salsa, cumbia, not cumbia, salsa"),
        ({"model": {"name": "vgg16-gap"}}, "has another model: vgg16-gap, not vgg16"),
        ({"model": {"tune": 3}}, "was trained with the settings of a search"),
        ({"mel_spec": FINE}, "has another form of mel images"),
        ({"weights_file": ""}, "has another file of weights: random, not vgg16.h5"),
    ],
)
def test_a_head_of_another_run_raises_with_the_reason(
    trainings: Trainings, config: Resolved, tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    if songs := changed.pop("songs", None):
        changed = {"manifests": manifests(tmp_path / "other", songs, changed.pop("genre", "salsa"))}
    sections = {name: changed.pop(name) for name in ("training", "model") if name in changed}
    trainings.train(dataclasses.replace(config, config=config.config.replace(**sections), **changed))
    with pytest.raises(ValueError, match=r"^Expected an earlier run with the same songs.*Leave --resume out") as caught:
        head_to_resume(trainings.store, config)
    assert reason in str(caught.value)


def test_a_head_resumed_from_one_of_other_songs_raises(trainings: Trainings, config: Resolved, tmp_path: Path) -> None:
    other = manifests(tmp_path / "other", {"a": "test", "b": "train", "c": "val", "d": "train"})
    foreign = trainings.train(dataclasses.replace(config, manifests=other))
    trainings.train(dataclasses.replace(config, resume=foreign))
    with pytest.raises(ValueError, match="was resumed from a head that was trained on another library or split"):
        head_to_resume(trainings.store, config)
    trainings.train(dataclasses.replace(config, resume="missing/head.keras"))
    with pytest.raises(ValueError, match="was resumed from a head that is missing"):
        head_to_resume(trainings.store, config)


def test_changed_settings_before_the_first_component_are_found() -> None:
    def execution(**properties: Any) -> Any:
        made = metadata_store_pb2.Execution()
        for name, value in properties.items():
            setattr(made.custom_properties[name], "int_value" if isinstance(value, int) else "string_value", value)
        return made

    class Node:
        def __init__(self, name: str, *above: Any, **properties: Any) -> None:
            self.id, self.upstream_nodes, self.exec_properties = name, set(above), properties

    def config(**custom: Any) -> str:
        return json.dumps({"training": {"epochs": 5}, "code": "new", "resume": ""} | custom)

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
    _require_unchanged(pipeline, "Songs", former)
    with pytest.raises(UserError, match=r"others for Songs \(manifests\)\. Leave"):
        _require_unchanged(pipeline, "Trainer", former)
    with pytest.raises(UserError, match=r"others for Songs \(manifests\), Trainer \(training\)\."):
        _require_unchanged(pipeline, "Evaluator", former)
    former["Features"] = execution(augment=0)
    with pytest.raises(UserError, match=r"others for Songs \(manifests\), Features \(augment\)\."):
        _require_unchanged(pipeline, "Trainer", former)

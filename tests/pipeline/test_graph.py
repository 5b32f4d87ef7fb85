"""The graph is complete, checks data before the training, and pushes only after both blessings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tumbao.components.ingest.library import MANIFEST_COLUMNS
from tumbao.pipeline.config import Config, parse
from tumbao.pipeline.graph import build as build_graph
from tumbao.pipeline.resolve import Resolved, exec_properties
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.models.registry import find_model
from tumbao.trainer.weights import WeightsFile

ORDER = {
    "ExampleValidator": "StatisticsGen ImportSchemaGen",
    "AnomalyGate": "ExampleValidator",
    "BackboneFeatures": "AudioExampleGen AnomalyGate",
    "Trainer": "BackboneFeatures",
    "Evaluator": "Trainer Baseline",
    "SongEvaluation": "BackboneFeatures Trainer",
    "FinalModel": "BackboneFeatures Trainer SongEvaluation",
    "SongGate": "Evaluator SongEvaluation Baseline",
    "EdgeExport": "FinalModel SongEvaluation SongGate",
    "MobileCheck": "EdgeExport FinalModel",
    "Pusher": "SongGate MobileCheck ModelCard Report",
}
"""Components, and those that they need."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    root = str(tmp_path_factory.mktemp("workspace"))
    return parse(
        {
            "data": {"genres": ["cumbia", "salsa"]},
            "model": {"name": "vgg16"},
            "gate": {"min_recall": 0.25},
            "runner": {"root": root},
        }
    )


def build(config: Config, mel_spec: MelSpec | None = None) -> Any:
    resolved = Resolved(
        config=config,
        catalog=mock.Mock(),
        genres=config.data.genres,
        manifests=_manifests(config),
        mel_spec=mel_spec or MelSpec(),
        weights=WeightsFile(None, "random", None),
        weights_file="",
        policy="mixed_bfloat16",
    )
    return build_graph(config, exec_properties(resolved))


def _manifests(config: Config) -> str:
    folder = Path(config.root, "catalogs", "0")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test.csv").write_text(",".join(MANIFEST_COLUMNS) + "\n")
    return str(folder)


@pytest.fixture(scope="module")
def components(config: Config) -> dict[str, Any]:
    return {component.id: component for component in build(config).components}


@pytest.mark.parametrize(("after", "needed"), ORDER.items())
def test_dependencies_come_first(components: dict[str, Any], after: str, needed: str) -> None:
    assert {component.id for component in components[after].upstream_nodes} >= set(needed.split())


def test_the_tuner_runs_before_the_trainer_and_gives_it_the_best_settings(config: Config) -> None:
    components = {one.id: one for one in build(config.replace(model={"tune": 4})).components}
    assert list(components).index("Tuner") == list(components).index("Trainer") - 1
    assert {one.id for one in components["Tuner"].upstream_nodes} == {"BackboneFeatures"}
    assert components["Report"].inputs["search"].producer_component_id == "Tuner"
    taken = components["Trainer"].inputs["hyperparameters"]
    assert (taken.producer_component_id, taken.output_key) == ("Tuner", "best_hyperparameters")
    custom = json.loads(components["Tuner"].exec_properties["custom_config"])
    assert (custom["trials"], Path(custom["searches"])) == (4, Path(config.root) / "searches")


def test_components_have_a_digest_of_their_source(components: dict[str, Any]) -> None:
    names = ["AudioExampleGen", "BackboneFeatures", "SongEvaluation", "SongGate"]
    names += ["FinalModel", "EdgeExport", "MobileCheck", "ModelCard"]
    codes = {name: components[name].exec_properties["code"] for name in names}
    codes["Trainer"] = json.loads(components["Trainer"].exec_properties["custom_config"])["code"]
    assert all(len(code) == 16 for code in codes.values())
    assert len(set(codes.values())) == len(codes)


def test_settings_reach_their_components(config: Config, components: dict[str, Any]) -> None:
    assert components["AudioExampleGen"].exec_properties["manifests"] == f"{config.root}/catalogs/0"
    assert components["BackboneFeatures"].exec_properties["policy"] == "mixed_bfloat16"
    assert json.loads(components["SongGate"].exec_properties["gate"])["min_recall"] == 0.25
    assert components["Pusher"].exec_properties["registry"] == config.push_to
    training = json.loads(components["Trainer"].exec_properties["custom_config"])
    assert training["genres"] == ["cumbia", "salsa"]
    assert training["training"]["seed"] == config.split.seed
    for name, split in (("train_args", "train"), ("eval_args", "val")):
        assert json.loads(components["Trainer"].exec_properties[name])["splits"] == [split]
    assert json.loads(components["Evaluator"].exec_properties["example_splits"]) == ["test"]
    assert build(config).enable_cache != build(config.replace(runner={"cache": False})).enable_cache


def test_model_augmentation_and_fine_tuning_decide_images_backbone_and_files(config: Config) -> None:
    model = find_model("adaboost")
    other = config.replace(model={"name": model.name}, training={"epochs": 9})
    built = build(other, model.backbone.mel_spec)
    components = {component.id: component.exec_properties for component in built.components}
    assert json.loads(components["AudioExampleGen"]["mel_spec"])["sample_rate_hz"] == 16_000
    assert components["BackboneFeatures"]["backbone"] == "descriptors"
    assert components["MobileCheck"]["policy"] == components["BackboneFeatures"]["policy"]
    assert components["EdgeExport"]["precisions"] == "float16"
    custom = json.loads(components["Trainer"]["custom_config"])
    assert (custom["model"], custom["training"]["epochs"]) == ("adaboost", 9)
    tuned = build(config.replace(training={"augment": 2, "fine_tune": 3})).components
    (features,) = (one.exec_properties for one in tuned if one.id == "BackboneFeatures")
    assert (features["augment"], features["backbone"]) == (2, "vgg16-block4")

"""The graph is whole, and in an order in which nothing is trained on bad data or pushed without both blessings."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from tumbao.pipeline.config import PipelineConfig
from tumbao.pipeline.graph import build
from tumbao.trainer.models.registry import find_model

ORDER = [
    ("AudioExampleGen", "StatisticsGen"),
    ("StatisticsGen", "ExampleValidator"),
    ("ImportSchemaGen", "ExampleValidator"),
    ("ExampleValidator", "AnomalyGate"),
    ("AnomalyGate", "BackboneFeatures"),
    ("BackboneFeatures", "Trainer"),
    ("Trainer", "Baseline"),
    ("Baseline", "Evaluator"),
    ("AudioExampleGen", "SongEvaluation"),
    ("BackboneFeatures", "SongEvaluation"),
    ("Trainer", "SongEvaluation"),
    ("SongEvaluation", "EdgeExport"),
    ("Evaluator", "EdgeExport"),
    ("EdgeExport", "MobileCheck"),
    ("Evaluator", "Pusher"),
    ("MobileCheck", "ModelCard"),
    ("ModelCard", "Pusher"),
    ("MobileCheck", "Pusher"),
]
"""What has to be done before what, directly."""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> PipelineConfig:
    workspace = tmp_path_factory.mktemp("workspace")
    return PipelineConfig(
        workspace=str(workspace),
        manifests=str(workspace / "catalogs" / "0"),
        genres=("cumbia", "salsa"),
        weights="",
        weights_digest="",
        policy="mixed_bfloat16",
        push_to=str(workspace / "pushed"),
        min_recall=0.25,
    )


@pytest.fixture(scope="module")
def components(config: PipelineConfig) -> dict[str, Any]:
    return {component.id: component for component in build(config).components}


@pytest.mark.parametrize(("before", "after"), ORDER)
def test_what_others_need_is_done_before(components: dict[str, Any], before: str, after: str) -> None:
    assert before in {component.id for component in components[after].upstream_nodes}
    assert list(components).index(before) < list(components).index(after)


def test_every_component_has_its_place_in_the_order(components: dict[str, Any]) -> None:
    assert set(components) == {name for pair in ORDER for name in pair}


def test_a_search_stands_between_the_features_and_the_trainer_which_takes_its_best(config: PipelineConfig) -> None:
    components = {one.id: one for one in build(dataclasses.replace(config, tune=4)).components}
    assert list(components).index("Tuner") == list(components).index("Trainer") - 1
    assert {one.id for one in components["Tuner"].upstream_nodes} == {"BackboneFeatures"}
    taken = components["Trainer"].inputs["hyperparameters"]
    assert (taken.producer_component_id, taken.output_key) == ("Tuner", "best_hyperparameters")
    assert json.loads(components["Tuner"].exec_properties["train_args"])["splits"] == ["train"]
    assert json.loads(components["Tuner"].exec_properties["eval_args"])["splits"] == ["val"]
    asked = json.loads(components["Tuner"].exec_properties["custom_config"])
    assert (asked["trials"], Path(asked["searches"])) == (4, Path(config.workspace) / "searches")
    module, _, name = components["Tuner"].exec_properties["tuner_fn"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


def test_the_head_is_trained_on_train_and_val_and_judged_on_test(components: dict[str, Any]) -> None:
    assert json.loads(components["Trainer"].exec_properties["train_args"])["splits"] == ["train"]
    assert json.loads(components["Trainer"].exec_properties["eval_args"])["splits"] == ["val"]
    assert json.loads(components["Evaluator"].exec_properties["example_splits"]) == ["test"]


def test_the_trainers_entry_exists_where_the_graph_says(components: dict[str, Any]) -> None:
    module, _, name = components["Trainer"].exec_properties["run_fn"].rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


def test_every_component_of_ours_holds_a_hash_of_its_source(components: dict[str, Any]) -> None:
    codes = {
        name: components[name].exec_properties["code"]
        for name in ("AudioExampleGen", "BackboneFeatures", "SongEvaluation", "EdgeExport", "MobileCheck", "ModelCard")
    }
    codes["Trainer"] = json.loads(components["Trainer"].exec_properties["custom_config"])["code"]
    assert all(len(code) == 16 for code in codes.values())
    assert len(set(codes.values())) == len(codes)


def test_the_settings_reach_their_components(config: PipelineConfig, components: dict[str, Any]) -> None:
    assert components["AudioExampleGen"].exec_properties["manifests"] == config.manifests
    assert components["BackboneFeatures"].exec_properties["policy"] == "mixed_bfloat16"
    assert "0.249999" in components["Evaluator"].exec_properties["eval_config"]  # less what float32 may lose
    assert components["Pusher"].exec_properties["registry"] == config.push_to
    training = json.loads(components["Trainer"].exec_properties["custom_config"])
    assert training["genres"] == ["cumbia", "salsa"]
    assert training["training"]["seed"] == config.training.seed


def test_the_cache_is_on_unless_told_otherwise(config: PipelineConfig) -> None:
    assert build(config).enable_cache is True
    assert build(dataclasses.replace(config, cache=False)).enable_cache is False


def test_everything_lies_in_the_workspace(config: PipelineConfig) -> None:
    assert Path(build(config).pipeline_info.pipeline_root) == Path(config.workspace) / "pipeline"


def test_another_model_brings_its_own_images_backbone_and_files(config: PipelineConfig) -> None:
    model = find_model("adaboost")
    other = dataclasses.replace(
        config, model=model.name, training=model.settings(epochs=9), mel_spec=model.backbone.mel_spec
    )
    components = {component.id: component.exec_properties for component in build(other).components}
    assert json.loads(components["AudioExampleGen"]["mel_spec"])["sample_rate_hz"] == 16_000
    assert components["BackboneFeatures"]["backbone"] == components["MobileCheck"]["backbone"] == "descriptors"
    assert components["EdgeExport"]["precisions"] == "float16"
    custom = json.loads(components["Trainer"]["custom_config"])
    assert (custom["model"], custom["training"]["epochs"]) == ("adaboost", 9)


def test_the_copies_of_augmentation_and_a_shorter_backbone_reach_the_features(config: PipelineConfig) -> None:
    training = find_model("vgg16").settings(augment=2, fine_tune=3)
    components = {one.id: one for one in build(dataclasses.replace(config, training=training)).components}
    features = components["BackboneFeatures"].exec_properties
    assert (features["augment"], features["backbone"]) == (2, "vgg16-block4")

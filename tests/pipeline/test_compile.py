"""The compiled pipeline holds what a cluster needs to be told, and its faults are found without one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tumbao.pipeline.compile import compile_pipeline, parameters_file, specify
from tumbao.pipeline.config import UsageError, read_config
from tumbao.pipeline.specification import faults

PARAMETERS: dict[str, Any] = {"data": "gs://b/library", "model": "cnn", "epochs": 3, "min_accuracy": 0.7}
CONFIG = read_config(
    options=dict(
        runner="vertex",
        root="gs://b/tumbao",
        image="registry/tumbao:1",
        images={"Trainer": "registry/tumbao-gpu:1"},
        resources={"Trainer": {"cpu": 4, "memory_gb": 16, "accelerator": "NVIDIA_TESLA_T4", "accelerators": 1}},
        beam={"AudioExampleGen": ["--runner=DataflowRunner", "--project=p"]},
        region="europe-west4",
        tune=2,
        vertex_training={
            "project": "p",
            "worker_pool_specs": [{"container_spec": {"image_uri": "registry/tumbao-gpu:1"}}],
        },
        endpoint={"project_id": "p", "endpoint_name": "tumbao", "machine_type": "n1-standard-4"},
        serving_image="registry/serving:1",
        **PARAMETERS,
    )
)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compile_pipeline(CONFIG, file)
    assert json.loads(parameters_file(file).read_text()) == PARAMETERS
    loaded: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return loaded


def container(compiled: dict[str, Any], name: str) -> dict[str, Any]:
    label = compiled["components"][name]["executorLabel"]
    found: dict[str, Any] = compiled["deploymentSpec"]["executors"][label]["container"]
    return found


def test_a_compiled_pipeline_has_no_faults(compiled: dict[str, Any]) -> None:
    assert faults(compiled, PARAMETERS) == []


def test_parameters_are_asked_for_at_submission(compiled: dict[str, Any]) -> None:
    declared = compiled["root"]["inputDefinitions"]["parameters"]
    assert {name: one["parameterType"] for name, one in declared.items()} == {
        "data": "STRING",
        "model": "STRING",
        "epochs": "NUMBER_INTEGER",
        "min_accuracy": "NUMBER_DOUBLE",
    }
    taken = compiled["root"]["dag"]["tasks"]["RunSettings"]["inputs"]["parameters"]
    assert all(taken[name] == {"componentInputParameter": name} for name in PARAMETERS)


def test_each_component_gets_what_the_deployment_gives_it(compiled: dict[str, Any]) -> None:
    trainer = container(compiled, "Trainer")
    assert trainer["image"] == "registry/tumbao-gpu:1"
    assert trainer["resources"] == {
        "cpuLimit": 4.0,
        "memoryLimit": 16.0,
        "accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1"},
    }
    assert container(compiled, "Evaluator")["image"] == "registry/tumbao:1"
    assert container(compiled, "AudioExampleGen")["args"][-2:] == ["--runner=DataflowRunner", "--project=p"]
    assert container(compiled, "Evaluator")["args"][-2:] == ["--runner=FnApiRunner", "--sdk_container_image=none"]


def test_what_may_have_changed_outside_is_looked_at_anew(compiled: dict[str, Any]) -> None:
    tasks = compiled["root"]["dag"]["tasks"]
    fresh = {name for name, task in tasks.items() if not task.get("cachingOptions", {}).get("enableCache")}
    assert fresh == {"RunSettings", "Baseline", "Pusher"}


def test_training_and_endpoint_on_vertex_are_told_where(compiled: dict[str, Any]) -> None:
    assert "google_cloud_ai_platform.trainer" in " ".join(container(compiled, "Trainer")["args"])
    config = compiled["root"]["dag"]["tasks"]["RunSettings"]["inputs"]["parameters"]["config"]
    runner = json.loads(config["runtimeValue"]["constant"])["runner"]
    assert (runner["region"], runner["vertex_training"]["project"]) == ("europe-west4", "p")
    endpoint = compiled["root"]["dag"]["tasks"]["EndpointPusher"]["inputs"]
    custom = json.loads(endpoint["parameters"]["custom_config"]["runtimeValue"]["constant"])
    assert custom["ai_platform_serving_args"]["endpoint_name"] == "tumbao"
    assert endpoint["artifacts"].keys() == {"model", "model_blessing", "infra_blessing"}


def test_no_task_is_a_resolver_which_kubeflow_cannot_carry_out(compiled: dict[str, Any]) -> None:
    assert all("container" in executor for executor in compiled["deploymentSpec"]["executors"].values())


@pytest.mark.parametrize(
    ("field", "value", "refusal"),
    [
        (
            "images",
            {"Treiner": "x"},
            "Expected runner.images for .*Received: Treiner; did you mean Trainer\\?",
        ),
        ("resources", {"Treiner": {}}, "Expected runner.resources for"),
        (
            "beam",
            {"Trainer": ["--runner=DataflowRunner"]},
            "Expected runner.beam for AudioExampleGen",
        ),
    ],
)
def test_components_that_there_are_none_of_are_refused(field: str, value: Any, refusal: str) -> None:
    places: dict[str, Any] = {"runner": "kubeflow", "root": "/mnt/t", "image": "x", "data": "/mnt/l"}
    with pytest.raises(UsageError, match=refusal):
        specify(read_config(options=places | {field: value}))


def _rename_entry(spec: dict[str, Any]) -> None:
    arguments = container(spec, "Evaluator")["args"]
    arguments[arguments.index("--executor_class_path") + 1] = "tumbao.components.evaluator.Nobody"


def _rename_type(spec: dict[str, Any]) -> None:
    one = spec["components"]["EdgeExport"]["inputDefinitions"]["artifacts"]["ingested"]["artifactType"]
    one["instanceSchema"] = "title: tumbao.Nothing\ntype: object\n"


def _lose_an_output(spec: dict[str, Any]) -> None:
    del spec["components"]["Trainer"]["outputDefinitions"]["artifacts"]["model_run"]


def _lose_an_input(spec: dict[str, Any]) -> None:
    del spec["root"]["dag"]["tasks"]["Evaluator"]["inputs"]["artifacts"]["model"]


def _lose_the_image(spec: dict[str, Any]) -> None:
    container(spec, "Trainer")["image"] = ""


def _wait_for_each_other(spec: dict[str, Any]) -> None:
    spec["root"]["dag"]["tasks"]["RunSettings"]["dependentTasks"] = ["Pusher"]


def _wait_for_nobody(spec: dict[str, Any]) -> None:
    spec["root"]["dag"]["tasks"]["Trainer"]["dependentTasks"].append("Nobody")


def _mistype(spec: dict[str, Any]) -> None:
    spec["root"]["dag"]["tasks"]["BackboneFeatures"]["inputs"]["parameters"]["augment"] = {
        "runtimeValue": {"constant": "two"}
    }


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (_rename_entry, "Evaluator: expected Nobody in tumbao.components.evaluator"),
        (_rename_type, "EdgeExport: artefact ingested: expected Nothing in tumbao"),
        (_lose_an_output, "SongEvaluation: its input model_run comes from Trainer, which does not put out model_run"),
        (_lose_an_input, "Evaluator: expected a value for its input model"),
        (_lose_the_image, "Trainer: expected a container image"),
        (_wait_for_each_other, "RunSettings"),
        (_wait_for_nobody, "Trainer: waits for Nobody, which there is none of"),
        (_mistype, "BackboneFeatures: its input augment is 'two', which is of another kind"),
    ],
)
def test_each_fault_is_found(compiled: dict[str, Any], damage: Callable[[dict[str, Any]], None], fault: str) -> None:
    damaged = copy.deepcopy(compiled)
    damage(damaged)
    assert any(fault in one for one in faults(damaged, PARAMETERS))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"epochs": "three"}, "parameter epochs: expected NUMBER_INTEGER, received 'three'"),
        ({"epoch": 3}, "parameter epoch: expected one of data, epochs, min_accuracy, model"),
        ({"data": None}, "parameter data: expected STRING, received None"),
    ],
)
def test_parameters_that_do_not_fit_are_found(compiled: dict[str, Any], changes: dict[str, Any], fault: str) -> None:
    assert faults(compiled, PARAMETERS | changes) == [fault]
    missing = {name: value for name, value in PARAMETERS.items() if name != "model"}
    assert faults(compiled, missing) == ["parameter model: expected a value; it has no default"]


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match=r"a file that can be written in --out\. Received: .*/file/pipeline\.yaml"):
        compile_pipeline(CONFIG, file / "pipeline.yaml")


def test_compiled_twice_it_is_the_same(tmp_path: Path, compiled: dict[str, Any]) -> None:
    assert compile_pipeline(CONFIG, tmp_path / "again.yaml") == compiled

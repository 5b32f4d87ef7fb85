"""A pipeline is compiled completely, submissions are checked offline, and the services receive what they expect."""

from __future__ import annotations

import io
import json
import pkgutil
from pathlib import Path
from typing import Any
from unittest import mock

import kfp
import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform import PipelineJob
from rich.console import Console
from tfx.orchestration.kubeflow.v2.compiler_utils import TITLE_TO_CLASS_PATH

from tumbao.pipeline.cloud import compile_pipeline, parameters_file, specify, submit
from tumbao.pipeline.config import Config, UsageError, parse

PARAMETERS: dict[str, Any] = {"data": "gs://b/library", "model": "cnn", "epochs": 3, "min_accuracy": 0.7}
VERTEX = parse(
    {
        "data": {"library": "gs://b/library"},
        "runner": {
            "name": "vertex",
            "root": "gs://b/tumbao",
            "image": "registry/tumbao:1",
            "project": "p",
            "region": "europe-west4",
            "service_account": "tumbao@p.iam.gserviceaccount.com",
            "labels": {"team": "music"},
        },
    }
)
CONFIG = VERTEX.replace(
    model={"name": "cnn", "tune": 2},
    training={"epochs": 3},
    gate={"min_accuracy": 0.7},
    registry={
        "endpoint": {"project_id": "p", "endpoint_name": "tumbao", "machine_type": "n1-standard-4"},
        "serving_image": "registry/serving:1",
    },
    runner={
        "images": {"Trainer": "registry/tumbao-gpu:1"},
        "resources": {"Trainer": {"cpu": 4, "memory_gb": 16, "accelerator": "NVIDIA_TESLA_T4", "accelerators": 1}},
        "beam": {"AudioExampleGen": ["--runner=DataflowRunner", "--project=p"]},
        "vertex_training": {
            "project": "p",
            "worker_pool_specs": [{"container_spec": {"image_uri": "registry/tumbao-gpu:1"}}],
        },
    },
)
KUBEFLOW = parse(
    {
        "data": {"library": "/mnt/library"},
        "runner": {"name": "kubeflow", "root": "/mnt/tumbao", "image": "tumbao:1", "host": "http://127.0.0.1:9"},
    }
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


def test_every_entry_point_and_artefact_type_can_be_imported(compiled: dict[str, Any]) -> None:
    for component in compiled["components"].values():
        arguments = compiled["deploymentSpec"]["executors"][component["executorLabel"]]["container"]["args"]
        assert pkgutil.resolve_name(arguments[arguments.index("--executor_class_path") + 1])
        for side in ("inputDefinitions", "outputDefinitions"):
            for one in component.get(side, {}).get("artifacts", {}).values():
                title = yaml.safe_load(one["artifactType"]["instanceSchema"])["title"]
                assert pkgutil.resolve_name(TITLE_TO_CLASS_PATH.get(title, title))


def test_parameters_have_types_and_reach_the_first_component(compiled: dict[str, Any]) -> None:
    declared = compiled["root"]["inputDefinitions"]["parameters"]
    assert {name: one["parameterType"] for name, one in declared.items()} == {
        "data": "STRING",
        "model": "STRING",
        "epochs": "NUMBER_INTEGER",
        "min_accuracy": "NUMBER_DOUBLE",
    }
    taken = compiled["root"]["dag"]["tasks"]["RunSettings"]["inputs"]["parameters"]
    assert all(taken[name] == {"componentInputParameter": name} for name in PARAMETERS)


def test_components_have_their_images_resources_and_flags(compiled: dict[str, Any]) -> None:
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


def test_the_report_is_a_task_before_the_push(compiled: dict[str, Any]) -> None:
    for specification in (compiled, specify(KUBEFLOW)):
        tasks = specification["root"]["dag"]["tasks"]
        report = tasks["Pusher"]["inputs"]["artifacts"]["report"]["taskOutputArtifact"]
        assert report == {"producerTask": "Report", "outputArtifactKey": "page"}
        assert ("search" in tasks["Report"]["inputs"]["artifacts"]) == ("Tuner" in tasks)


def test_components_that_read_outside_state_are_never_cached(compiled: dict[str, Any]) -> None:
    tasks = compiled["root"]["dag"]["tasks"]
    fresh = {name for name, task in tasks.items() if not task.get("cachingOptions", {}).get("enableCache")}
    assert fresh == {"RunSettings", "Baseline", "Pusher"}


def test_training_and_endpoint_of_vertex_are_configured(compiled: dict[str, Any]) -> None:
    assert "google_cloud_ai_platform.trainer" in " ".join(container(compiled, "Trainer")["args"])
    config = compiled["root"]["dag"]["tasks"]["RunSettings"]["inputs"]["parameters"]["config"]
    runner = json.loads(config["runtimeValue"]["constant"])["runner"]
    assert (runner["region"], runner["vertex_training"]["project"]) == ("europe-west4", "p")
    endpoint = compiled["root"]["dag"]["tasks"]["EndpointPusher"]["inputs"]
    custom = json.loads(endpoint["parameters"]["custom_config"]["runtimeValue"]["constant"])
    assert custom["ai_platform_serving_args"]["endpoint_name"] == "tumbao"
    assert endpoint["artifacts"].keys() == {"model", "model_blessing", "infra_blessing"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("images", {"Treiner": "x"}, "Expected runner.images for .*Received: Treiner; did you mean Trainer\\?"),
        ("resources", {"Treiner": {}}, "Expected runner.resources for"),
        ("beam", {"Trainer": ["--runner=DataflowRunner"]}, "Expected runner.beam for AudioExampleGen"),
    ],
)
def test_unknown_components_raise(field: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        specify(KUBEFLOW.replace(runner={field: value}))


def test_a_file_that_cannot_be_written_raises(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match=r"a file that can be written in --out\. Received: .*/file/pipeline\.yaml"):
        compile_pipeline(CONFIG, file / "pipeline.yaml")


def submitted(config: Config, folder: Path, *, dry_run: bool = False) -> str:
    console = Console(file=io.StringIO(), width=400)
    submit(config, folder / "pipeline.yaml", console, dry_run)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("config", [VERTEX, KUBEFLOW])
def test_a_dry_run_prints_the_parameters(config: Config, tmp_path: Path) -> None:
    printed = submitted(config, tmp_path, dry_run=True)
    assert f'data = "{config.data.library}"' in printed
    assert "Nothing was submitted (--dry-run)." in printed


@pytest.mark.parametrize(
    ("config", "messages"),
    [
        (VERTEX.replace(runner={"project": "", "region": ""}), ["needs runner.project", "needs runner.region"]),
        (VERTEX.replace(runner={"root": "/mnt/tumbao"}), ["vertex needs a runner.root in a bucket, gs://…"]),
        (KUBEFLOW.replace(runner={"host": ""}), ["kubeflow needs runner.host"]),
        (VERTEX.replace(runner={"region": "mars"}), ["region mars", "Unsupported region for Vertex AI"]),
    ],
)
def test_a_message_lists_all_missing_fields(config: Config, messages: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        submitted(config, tmp_path, dry_run=True)
    assert all(message in str(caught.value) for message in messages)


def test_missing_credentials_raise_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(UsageError, match="gcloud auth application-default login"):
        submitted(VERTEX, tmp_path)


@pytest.fixture
def vertex_jobs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    jobs: list[Any] = []

    def submit(job: PipelineJob, service_account: str | None = None) -> None:
        job._gca_resource.service_account = service_account
        jobs.append(job._gca_resource)
        job._gca_resource.name = "projects/p/locations/europe-west4/pipelineJobs/1"

    monkeypatch.setattr(PipelineJob, "submit", submit)
    monkeypatch.setattr("google.auth.default", lambda scopes: (AnonymousCredentials(), "p"))
    return jobs


def test_vertex_receives_pipeline_parameters_account_and_labels(vertex_jobs: list[Any], tmp_path: Path) -> None:
    printed = submitted(VERTEX, tmp_path)
    (job,) = vertex_jobs
    assert job.service_account == VERTEX.runner.service_account
    assert job.labels["team"] == "music"
    assert job.runtime_config.gcs_output_directory == "gs://b/tumbao/pipeline"
    assert dict(job.runtime_config.parameter_values) == {
        "data": "gs://b/library",
        "model": "auto",
        "epochs": 0.0,
        "min_accuracy": 0.8,
    }
    assert "RunSettings" in dict(job.pipeline_spec)["root"]["dag"]["tasks"]
    assert "Submitted: projects/p/locations/europe-west4/pipelineJobs/1" in printed


def test_vertex_receives_a_schedule_without_overlapping_runs(
    vertex_jobs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mock.Mock(resource_name="projects/p/locations/europe-west4/schedules/1")
    create = mock.create_autospec(PipelineJob.create_schedule, return_value=made)
    monkeypatch.setattr(PipelineJob, "create_schedule", create)
    printed = submitted(VERTEX.replace(runner={"schedule": "0 3 * * 1"}), tmp_path)
    (job,), options = create.call_args
    assert options == {
        "cron": "0 3 * * 1",
        "display_name": job._gca_resource.display_name,
        "max_concurrent_run_count": 1,
        "service_account": VERTEX.runner.service_account,
    }
    assert job._gca_resource.labels["team"] == "music" and vertex_jobs == []
    assert "Submitted: schedule projects/p/locations/europe-west4/schedules/1 (0 3 * * 1)" in printed


@pytest.mark.parametrize("schedule", ["", "0 3 * * 1"])
def test_kubeflow_receives_the_pipeline_with_its_parameters(
    schedule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = mock.create_autospec(kfp.Client, instance=True)
    client.create_experiment.return_value.experiment_id = "e1"
    client.create_run_from_pipeline_package.return_value.run_id = "r1"
    client.create_recurring_run.return_value.recurring_run_id = "s1"
    monkeypatch.setattr(kfp, "Client", connect := mock.Mock(return_value=client))
    monkeypatch.setenv("KFP_TOKEN", "secret")
    printed = submitted(KUBEFLOW.replace(runner={"schedule": schedule, "service_account": "t"}), tmp_path)
    connect.assert_called_once_with(host="http://127.0.0.1:9", existing_token="secret")
    submission = client.create_recurring_run if schedule else client.create_run_from_pipeline_package
    positional, options = submission.call_args
    assert options["params" if schedule else "arguments"] == {
        "data": "/mnt/library",
        "model": "auto",
        "epochs": 0,
        "min_accuracy": 0.8,
    }
    file = options["pipeline_package_path"] if schedule else positional[0]
    assert "RunSettings" in yaml.safe_load(Path(file).read_text("utf-8"))["components"]
    assert (options["pipeline_root"], options["service_account"]) == ("/mnt/tumbao/pipeline", "t")
    assert options.get("cron_expression") == ("0 0 3 * * 1" if schedule else None)
    assert ("schedule s1" if schedule else "http://127.0.0.1:9/#/runs/details/r1") in printed


def test_an_unreachable_service_raises(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="kubeflow did not accept the pipeline"):
        submitted(KUBEFLOW, tmp_path)

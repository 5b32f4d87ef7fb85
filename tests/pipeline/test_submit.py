"""A submission is prepared offline to the last step, and then handed over as the services expect it."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform import PipelineJob
from rich.console import Console

from tumbao.pipeline.config import Config, UsageError, parse
from tumbao.pipeline.submit import submit

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
KUBEFLOW = parse(
    {
        "data": {"library": "/mnt/library"},
        "runner": {"name": "kubeflow", "root": "/mnt/tumbao", "image": "tumbao:1", "host": "http://127.0.0.1:9"},
    }
)


def handed_over(config: Config, folder: Path, *, dry_run: bool = False) -> str:
    console = Console(file=io.StringIO(), width=400)
    submit(config, folder / "pipeline.yaml", console, dry_run)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("config", [VERTEX, KUBEFLOW])
def test_a_dry_run_says_what_would_be_submitted(config: Config, tmp_path: Path) -> None:
    said = handed_over(config, tmp_path, dry_run=True)
    assert f'data = "{config.data.library}"' in said
    assert "Nothing was submitted (--dry-run)." in said


@pytest.mark.parametrize(
    ("config", "refusals"),
    [
        (VERTEX.replace(runner={"project": "", "region": ""}), ["needs runner.project", "needs runner.region"]),
        (VERTEX.replace(runner={"root": "/mnt/tumbao"}), ["vertex needs a runner.root in a bucket, gs://…"]),
        (KUBEFLOW.replace(runner={"host": ""}), ["kubeflow needs runner.host"]),
        (VERTEX.replace(runner={"region": "mars"}), ["region mars", "Unsupported region for Vertex AI"]),
    ],
)
def test_all_that_is_missing_is_named_at_once(config: Config, refusals: list[str], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        handed_over(config, tmp_path, dry_run=True)
    assert all(refusal in str(caught.value) for refusal in refusals)


def test_missing_credentials_are_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(UsageError, match="gcloud auth application-default login"):
        handed_over(VERTEX, tmp_path)


@pytest.fixture
def asked_of_vertex(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Requests that Google's client would send, caught where it would."""
    asked: list[Any] = []

    def submitted(job: PipelineJob, service_account: str | None = None) -> None:
        job._gca_resource.service_account = service_account
        asked.append(job._gca_resource)
        job._gca_resource.name = "projects/p/locations/europe-west4/pipelineJobs/1"

    monkeypatch.setattr(PipelineJob, "submit", submitted)
    monkeypatch.setattr("google.auth.default", lambda scopes: (AnonymousCredentials(), "p"))
    return asked


def test_vertex_gets_the_pipeline_with_parameters_account_and_labels(
    asked_of_vertex: list[Any], tmp_path: Path
) -> None:
    said = handed_over(VERTEX, tmp_path)
    (job,) = asked_of_vertex
    assert job.service_account == VERTEX.runner.service_account
    assert job.labels["team"] == "music"
    assert job.runtime_config.gcs_output_directory == "gs://b/tumbao/pipeline"
    assert dict(job.runtime_config.parameter_values) == {
        "data": "gs://b/library",
        "model": "vgg16",
        "epochs": 0.0,
        "min_accuracy": 0.8,
    }
    assert "RunSettings" in dict(job.pipeline_spec)["root"]["dag"]["tasks"]
    assert "Submitted: projects/p/locations/europe-west4/pipelineJobs/1" in said


def test_vertex_gets_a_schedule_whose_runs_do_not_overlap(
    asked_of_vertex: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = mock.Mock(resource_name="projects/p/locations/europe-west4/schedules/1")
    create = mock.create_autospec(PipelineJob.create_schedule, return_value=made)
    monkeypatch.setattr(PipelineJob, "create_schedule", create)
    said = handed_over(VERTEX.replace(runner={"schedule": "0 3 * * 1"}), tmp_path)
    (job,), asked = create.call_args
    assert asked == {
        "cron": "0 3 * * 1",
        "display_name": job._gca_resource.display_name,
        "max_concurrent_run_count": 1,
        "service_account": VERTEX.runner.service_account,
    }
    assert job._gca_resource.labels["team"] == "music" and asked_of_vertex == []
    assert "Submitted: schedule projects/p/locations/europe-west4/schedules/1 (0 3 * * 1)" in said


@pytest.fixture
def kubeflow() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A server that answers as Kubeflow Pipelines does, and keeps what it was asked."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"experiments": []} if "experiments" in self.path else {"tag_name": "2.5.0"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, body))
            self._answer({"experiment_id": "e1", "run_id": "r1", "recurring_run_id": "s1", "display_name": "tumbao"})

        def _answer(self, value: dict[str, Any]) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore:HTTPResponse.getheader:DeprecationWarning")  # kfp's client asks urllib3 so
@pytest.mark.parametrize("schedule", ["", "0 3 * * 1"])
def test_kubeflow_gets_the_pipeline_with_its_parameters(
    kubeflow: tuple[str, list[tuple[str, Any]]], schedule: str, tmp_path: Path
) -> None:
    host, asked = kubeflow
    said = handed_over(KUBEFLOW.replace(runner={"host": host, "schedule": schedule, "service_account": "t"}), tmp_path)
    path, body = asked[-1]
    assert path.endswith("recurringruns" if schedule else "runs")
    assert body["runtime_config"]["parameters"] == {
        "data": "/mnt/library",
        "model": "vgg16",
        "epochs": 0,
        "min_accuracy": 0.8,
    }
    assert "RunSettings" in json.dumps(body["pipeline_spec"])
    assert body["service_account"] == "t"
    if schedule:
        assert body["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"
    assert ("schedule s1" if schedule else f"{host}/#/runs/details/r1") in said


def test_a_service_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="kubeflow did not take the pipeline"):
        handed_over(KUBEFLOW, tmp_path)

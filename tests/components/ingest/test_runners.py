"""Ingest submitted to Dataflow, Flink and Spark with the flags of docs/distributed.md, up to their services."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf import json_format
from tfx import v1 as tfx

from tests.components.ingest.cluster.master import master
from tests.components.ingest.cluster.shipping import ROOT, Shipment, ship
from tests.components.ingest.run_component import run_component
from tumbao.components.ingest.library import scan, write_manifests
from tumbao.pipeline import resolve
from tumbao.pipeline.config import Config
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.weights import WeightsFile

GUIDE = ROOT / "docs" / "distributed.md"
HEADINGS = ["Dataflow", "Flink", "Spark", "Worker pools"]
WriteSong = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("scan_in_process")

UNPICKLE = """
import pathlib, sys
from apache_beam.internal import pickler
from apache_beam.portability.api import beam_runner_api_pb2
graph = beam_runner_api_pb2.Pipeline.FromString(pathlib.Path(sys.argv[1]).read_bytes())
for transform in graph.components.transforms.values():
    if transform.spec.urn == "beam:transform:pardo:v1":
        function = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload).do_fn
        if function.urn == "beam:dofn:pickled_python_info:v1":
            sys.stdout.write(type(pickler.loads(function.payload)[0]).__name__ + "\\n")
sys.stdout.write("\\n".join(sorted(
    str(module.__file__) for name, module in sys.modules.items() if name.partition(".")[0] in ("tfx", "tumbao")
)))
"""


def documented(heading: str) -> list[str]:
    """Read the flags below a heading of the guide."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [flag for pair in re.findall(r'--beam=(\S+)|"(--[^"]+)"', section) for flag in pair if flag]


@pytest.fixture(scope="module")
def shipment(tmp_path_factory: pytest.TempPathFactory) -> Shipment:
    return ship(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory, write_song: WriteSong, small_spec: MelSpec) -> Path:
    folder = tmp_path_factory.mktemp("library")
    genres = ["cumbia", "salsa"]
    for genre in genres:
        for number in range(3):
            write_song(folder / genre / f"{number}.wav", 9)
    catalog = scan(folder, genres, small_spec)
    return write_manifests(catalog, folder / "catalogs", genres=genres, split_by="song", seed=1, spec=small_spec)


Submit = Callable[..., None]


@pytest.fixture(scope="module")
def submit(
    manifests: Path, small_spec: MelSpec, shipment: Shipment, tmp_path_factory: pytest.TempPathFactory
) -> Submit:
    """Run the component with flags and this package; it then fails, since no records are written."""

    def run(*flags: str) -> None:
        folder = tmp_path_factory.mktemp("run")
        with pytest.raises(Exception, match=r"No such file.*ingested\.jsonl"):
            run_component(manifests, small_spec, folder / "songs", folder / "run", [*flags, shipment.flag])

    return run


def staged(graph: beam_runner_api_pb2.Pipeline) -> set[str]:
    roles = [
        one.role_payload for environment in graph.components.environments.values() for one in environment.dependencies
    ]
    return {beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(role).staged_name for role in roles}


def images(graph: beam_runner_api_pb2.Pipeline) -> set[str]:
    payloads = [environment.payload for environment in graph.components.environments.values()]
    return {beam_runner_api_pb2.DockerPayload.FromString(payload).container_image for payload in payloads}


@pytest.fixture(scope="module")
def dataflow_graph(submit: Submit) -> beam_runner_api_pb2.Pipeline:
    """Let Beam's DataflowRunner make a job without calling the service."""
    runners = []
    run = beam.Pipeline.run

    def watched(pipeline: beam.Pipeline, *arguments: Any, **how: Any) -> Any:
        runners.append(pipeline.runner)
        return run(pipeline, *arguments, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beam.Pipeline, "run", watched)
        submit(*documented("Dataflow"), "--dry_run=True")
    return runners[-1].proto_pipeline


@pytest.mark.parametrize("heading", HEADINGS)
def test_beam_knows_every_documented_flag(heading: str, caplog: pytest.LogCaptureFixture) -> None:
    flags = documented(heading)
    assert flags[0].startswith("--runner=")
    with caplog.at_level(logging.WARNING):
        PipelineOptions(flags).get_all_options()
        assert "unparseable" not in caplog.text
        PipelineOptions([*flags, "--worker=8"]).get_all_options()
        assert "Discarding unparseable args: ['--worker=8']" in caplog.text


def resolved(config: Config, _: object) -> resolve.Resolved:
    return resolve.Resolved(
        config=config.replace(model={"name": "vgg16"}),
        catalog=mock.Mock(),
        genres=config.data.genres,
        manifests=f"{config.root}/catalogs/0",
        mel_spec=MelSpec(),
        weights=WeightsFile(None, "random", None),
        weights_file="",
        policy="float32",
    )


def test_the_pipeline_of_the_guide_builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    built: list[tfx.dsl.Pipeline] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tfx.orchestration.LocalDagRunner, "run", lambda _, pipeline: built.append(pipeline))
    monkeypatch.setattr(resolve, "resolve", resolved)  # there is no such bucket
    monkeypatch.setattr(resolve, "served_version", lambda _: "")
    monkeypatch.setattr(resolve, "table_rows", lambda _: [])
    exec(program, {})
    assert built[0].beam_pipeline_args == documented("Dataflow")
    assert built[0].pipeline_info.pipeline_root == "gs://my-bucket/tumbao/pipeline"


def test_dataflow_gets_a_job(dataflow_graph: beam_runner_api_pb2.Pipeline) -> None:
    assert "workflow.tar.gz" in staged(dataflow_graph)
    (image,) = images(dataflow_graph)
    assert f"--sdk_container_image={image}" in documented("Dataflow")


@pytest.mark.parametrize(("heading", "flag"), [("Flink", "--flink_master"), ("Spark", "--spark_rest_url")])
def test_flink_and_spark_get_the_job_and_the_package(heading: str, flag: str, submit: Submit, tmp_path: Path) -> None:
    jar = tmp_path / "beam.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("spark-version-info.properties", "version=3.5.0")
    with master() as server:
        submit(*documented(heading), f"{flag}={server.url}", f"--{heading.lower()}_job_server_jar={jar}")
    files = {Path(name).name: content for name, content in server.files.items()}
    graph = json_format.Parse(files["pipeline.json"], beam_runner_api_pb2.Pipeline())
    (config,) = [one.partition("=")[2] for one in documented(heading) if one.startswith("--environment_config=")]
    assert any(config.encode() in environment.payload for environment in graph.components.environments.values())
    assert "workflow.tar.gz" in staged(graph)
    (package,) = [content for name, content in files.items() if name.endswith("workflow.tar.gz")]
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        assert any(name.endswith("/tumbao/components/ingest/transform.py") for name in archive.getnames())


def test_the_package_is_shipped_completely(shipment: Shipment) -> None:
    def files(folder: Path) -> set[str]:
        packages = [package for package in (folder / "tumbao").iterdir() if package.is_dir()]  # rglob follows no links
        found = [folder / "tumbao" / "__init__.py", *(path for package in packages for path in package.rglob("*"))]
        return {str(path.relative_to(folder)) for path in found if path.is_file() and path.suffix != ".pyc"}

    assert "workflow.tar.gz" in shipment.staged
    assert files(shipment.installed) == files(ROOT)
    assert "tumbao/schema/schema.pbtxt" in files(shipment.installed)


def test_functions_are_unpickled_with_only_the_package_installed(
    dataflow_graph: beam_runner_api_pb2.Pipeline, shipment: Shipment, tmp_path: Path
) -> None:
    (tmp_path / "graph").write_bytes(dataflow_graph.SerializeToString())
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(shipment.installed)}
    lines = subprocess.run(
        [sys.executable, "-c", UNPICKLE, str(tmp_path / "graph")],
        cwd=tmp_path,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    ).stdout.split("\n")
    modules = [line for line in lines if line.endswith(".py")]
    functions = [line for line in lines if not line.endswith(".py")]
    assert "RenderMel" in functions
    assert len(functions) > 15
    assert modules
    assert all(module.startswith(str(shipment.installed)) for module in modules)  # and so none of TFX

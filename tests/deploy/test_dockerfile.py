"""The Dockerfile, without building an image: its commands run from the copied files as another user."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.conftest import Tone
from tests.deploy.dockerfile import ROOT, copy_to, is_sent, stages
from tumbao.pipeline.cloud import defaults, specify
from tumbao.pipeline.config import parse

STAGES = stages()
LOCK = "requirements-tfx-1.21.lock"
NOBODY = 65_534
AS_NOBODY = [
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--no-new-privs",
    # this Python may be readable by root only: the user may read everything, and write nothing
    *(f"--{one}=-all,+dac_read_search" for one in ("inh-caps", "ambient-caps", "bounding-set")),
]


def test_stages_are_based_on_pinned_images_or_earlier_stages() -> None:
    (version,) = re.findall(r"UV_VERSION := (.*)", (ROOT / "Makefile").read_text())
    assert f"uv=={version}" in STAGES["uv"].all("RUN")[0]
    known: list[str] = []
    for name, stage in STAGES.items():
        sources = [word[7:] for one in stage.all("COPY") for word in shlex.split(one) if word.startswith("--from=")]
        for source in [stage.base, *sources]:
            assert source in known or source.partition(":")[2] not in {"", "latest"}, f"{name}: {source}"
        known.append(name)
    assert len({stage.base for stage in STAGES.values() if stage.base not in known}) == 1


def test_all_images_have_the_python_and_the_beam_of_the_lock() -> None:
    text = (ROOT / "deploy/Dockerfile").read_text()
    assert set(re.findall(r"python:?(\d\.\d+)", text)) == {"3.12"}
    (beam,) = re.findall(r"^apache-beam==(\S+)", (ROOT / LOCK).read_text(), re.MULTILINE)
    assert f"--from=apache/beam_python3.12_sdk:{beam}" in text


def test_copied_files_exist_in_the_build_context() -> None:
    sources = {source for stage in STAGES.values() for source in stage.copied()}
    assert sources == {LOCK, "."}
    packages = [link.name for link in (ROOT / "tumbao").iterdir() if link.is_symlink()]
    assert packages
    for name in (LOCK, "setup.py", "pyproject.toml", "tumbao", *packages):
        assert (ROOT / name).exists()
        assert is_sent(ROOT / name)
    excluded = [".git/HEAD", "docs/deploy.md", "tumbao-workspace/metadata.sqlite", "tumbao/__pycache__/a.pyc"]
    assert not any(is_sent(ROOT / one) for one in excluded)
    assert is_sent(ROOT / "tumbao" / "schema" / "schema.pbtxt")


@pytest.mark.parametrize(
    ("stage", "flag"), [("pipeline-packages", "--require-hashes"), ("serve-packages", "--verify-hashes")]
)
def test_packages_are_installed_from_the_lock_with_hashes(stage: str, flag: str) -> None:
    installs = [
        step
        for line in STAGES[stage].all("RUN")
        for step in line.split(" && ")
        if step.startswith("uv pip ") and "uninstall" not in step
    ]
    assert installs
    for step in installs:
        assert "--no-deps" in step or (flag in step and LOCK in step), step
    assert "UV_COMPILE_BYTECODE=1" in STAGES["build"].all("ENV")[0]


@pytest.mark.parametrize("stage", ["serve", "pipeline"])
def test_images_do_not_run_as_root(stage: str) -> None:
    assert STAGES[stage].all("USER") == ["$UID"]
    assert STAGES[STAGES[stage].base].all("ARG") == ["UID=1000"]
    assert STAGES[stage].words("ENTRYPOINT") == ["tumbao"]


Start = Callable[[list[str]], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the files of the images; add a home, the only folder that the other user may write to."""
    folder = tmp_path_factory.mktemp("image")
    copy_to(folder / "source", STAGES["pipeline-packages"])
    home = folder / "home"
    home.mkdir()
    if os.getuid() == 0:
        os.chown(home, NOBODY, NOBODY)
    return folder


@pytest.fixture(scope="module")
def user() -> list[str]:
    """Return a prefix that runs a command as another user if the tests run as root."""
    if os.getuid() != 0:
        return []
    tried = subprocess.run([*AS_NOBODY, sys.executable, "-c", ""], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"root cannot grant the capability to read: {tried.stderr.strip()}")
    return AS_NOBODY


@pytest.fixture
def start(folder: Path, user: list[str]) -> Start:

    def call(command: list[str]) -> subprocess.Popen[str]:
        program = Path(sys.executable).parent / command[0]
        home = folder / "home"
        return subprocess.Popen(
            [*user, str(program), *command[1:]],
            cwd=home,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(folder / "source"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": str(home),
                "TUMBAO_CACHE": str(home / "cache"),
                "CUDA_VISIBLE_DEVICES": "",
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return call


def output_of(process: subprocess.Popen[str]) -> str:
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output[-4_000:]
    return output


def healthy(process: subprocess.Popen[str]) -> bool:
    process.communicate(timeout=60)
    return process.returncode == 0


def test_commands_run_from_the_copied_files_as_another_user(start: Start, folder: Path) -> None:
    where = output_of(start(["python", "-c", "import os, tumbao; print(os.getuid(), tumbao.__file__)"])).split()
    assert where[0] != "0"
    assert where[1] == str(folder / "source" / "tumbao" / "__init__.py")
    assert output_of(start(STAGES["pipeline"].words("HEALTHCHECK"))).startswith("tumbao ")


def test_the_server_is_healthy_without_a_model(start: Start, folder: Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    pushed = folder / "home" / "pushed"
    pushed.mkdir()
    command = [word.replace("/pushed", str(pushed)) for word in STAGES["serve"].words("CMD")]
    assert "--host=0.0.0.0" in command
    local = [word.replace("0.0.0.0", "127.0.0.1") for word in command]
    check = [word.replace(":8080/", f":{port}/") for word in STAGES["serve"].words("HEALTHCHECK")]
    server = start([*STAGES["serve"].words("ENTRYPOINT"), *local, f"--port={port}"])
    try:
        deadline = time.monotonic() + 60
        while not healthy(start(check)):
            assert server.poll() is None, server.communicate()[0]
            assert time.monotonic() < deadline
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert not healthy(start(check))


def test_a_step_of_the_pipeline_runs_by_its_command(start: Start, folder: Path, tone: Tone) -> None:
    home = folder / "home"
    for genre in ("cumbia", "salsa"):
        for number in range(3):
            song = folder / "library" / genre / f"{number}.wav"
            song.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(song, tone(4, 300 + 50 * number + len(genre), 8_000), 8_000)
    config = parse(
        {
            "data": {"library": str(folder / "library"), "genres": "cumbia,salsa"},
            "model": {"name": "cnn"},
            "split": {"strategy": "stratified", "folds": 0},
            "runner": {"name": "kubeflow", "root": str(home / "root"), "image": "tumbao:1"},
        }
    )
    specification = specify(config)
    container = specification["deploymentSpec"]["executors"]["RunSettings_executor"]["container"]
    inputs = specification["root"]["dag"]["tasks"]["RunSettings"]["inputs"]["parameters"]
    outputs = specification["components"]["RunSettings"]["outputDefinitions"]
    values = defaults(config)
    constants = {name: one["runtimeValue"]["constant"] for name, one in inputs.items() if "runtimeValue" in one}
    request: dict[str, Any] = {
        "inputs": {"parameterValues": constants | values},
        "outputs": {
            "artifacts": {
                name: {"artifacts": [{"name": name, "uri": str(home / name), "type": one["artifactType"]}]}
                for name, one in outputs["artifacts"].items()
            },
            "parameters": {name: {"outputFile": str(home / f"{name}.txt")} for name in outputs["parameters"]},
            "outputFile": str(home / "executor_output.json"),
        },
    }
    arguments = [json.dumps(request) if one == "{{$}}" else one for one in container["args"]]
    output_of(start([*container["command"], *arguments]))
    values_written = json.loads((home / "executor_output.json").read_text("utf-8"))["parameterValues"]
    assert json.loads(values_written["genres"]) == ["cumbia", "salsa"]
    assert Path(values_written["schema"]).is_relative_to(home / "root")
    assert Path(values_written["schema"]).is_file()

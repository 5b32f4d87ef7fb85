"""Services of docker-compose.yml: stages, commands, volumes and rights."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from tests.deploy.dockerfile import ROOT, stages
from tumbao.components.ingest.library import FIXED
from tumbao.pipeline.cli import app

FILE = ROOT / "deploy" / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def mounts(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["target"]: one for one in service["volumes"] if isinstance(one, dict)}


def test_all_services_share_one_workspace() -> None:
    assert SERVICES.keys() == {"run", "watch", "serve"}
    workspace = mounts(SERVICES["run"])["/workspace"]["source"]
    assert mounts(SERVICES["watch"])["/workspace"]["source"] == workspace
    assert mounts(SERVICES["serve"])["/pushed"]["source"] == f"{workspace}/pushed"


def test_run_and_watch_freeze_the_test_set(tmp_path: Path) -> None:
    words = shlex.split(SERVICES["run"]["command"].replace("=/", f"={tmp_path}/"))
    (tmp_path / "library").mkdir()
    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    assert run.make_context("run", words[1:]).params["split_strategy"] == FIXED
    assert "split" not in SERVICES["watch"]["command"]  # it does so by default
    assert yaml.safe_load((ROOT / "deploy" / "local.yaml").read_text("utf-8"))["split"]["strategy"] == FIXED


@pytest.mark.parametrize("name", SERVICES)
def test_commands_of_services_can_be_parsed(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    words = shlex.split(service["command"])
    for target in mounts(service):
        (tmp_path / target[1:]).mkdir()
        words = [word.replace(f"={target}", f"={tmp_path}{target}") for word in words]
    assert sum(str(tmp_path) in word for word in words) == len(mounts(service))
    command = typer.main.get_command(app)
    context = command.make_context("tumbao", words)
    found = command.commands[words[0]].make_context(words[0], words[1:], parent=context)  # type: ignore[attr-defined]
    assert all(
        f"{tmp_path}{target}" in map(str, found.params.values()) or target == "/workspace" for target in mounts(service)
    )


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_stages_with_minimal_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["build"]["target"] in stages()
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert "user" not in service  # the image's, which is not root
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert all(one["read_only"] for target, one in mounts(service).items() if target != "/workspace")
    assert all(not one["bind"]["create_host_path"] for one in mounts(service).values())

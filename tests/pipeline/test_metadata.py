"""Runs are found in ML Metadata in whatever order it lists them, and the report describes irregular songs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest

from tests.pipeline.metadata_store import Artifact, Execution, Metadata
from tumbao.pipeline.metadata import run_artifacts
from tumbao.pipeline.report import remarks

REGULAR: dict[str, Any] = {
    "padded": False,
    "truncated": False,
    "silent": 0,
    "seconds": 95.04,
    "declared_seconds": 200.0,
}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, []),
        ({"truncated": True, "declared_seconds": None}, ["truncated: decoded 95.0 s"]),
        (
            {"padded": True, "truncated": True, "silent": 1},
            [
                "shorter than a fragment: repeated",
                "truncated: decoded 95.0 of 200.0 s",
                "1 fragment is silent and left out",
            ],
        ),
    ],
)
def test_each_irregularity_has_a_remark(properties: dict[str, Any], expected: list[str]) -> None:
    assert list(remarks(REGULAR | properties)) == expected


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    return Metadata(tmp_path)


@pytest.fixture(params=["unchanged", "reversed", "shuffled"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Change the order of ML Metadata's lists, which it does not guarantee."""
    arrange: dict[str, Callable[[list[Any]], list[Any]]] = {
        "unchanged": list,
        "reversed": lambda found: found[::-1],
        "shuffled": lambda found: random.Random(1).sample(found, len(found)),
    }

    def rearranged(name: str) -> Callable[..., list[Any]]:
        own = getattr(mlmd.MetadataStore, name)
        return lambda *arguments: arrange[request.param](own(*arguments))

    for name in dir(mlmd.MetadataStore):
        if name.startswith("get_") and ("_by_" in name or name.endswith("s")) and "type_and_name" not in name:
            monkeypatch.setattr(mlmd.MetadataStore, name, rearranged(name))
    return str(request.param)


@pytest.mark.usefixtures("order")
def test_outputs_are_found_in_any_order(metadata: Metadata) -> None:
    rejected, ingested, examples = (metadata.artifact(name) for name in ("rejected", "ingested", "examples"))
    metadata.execute("one", "Ingest", {"examples": examples, "rejected": rejected, "ingested": ingested})
    metadata.execute("one", "Check", {"blessing": metadata.artifact("blessing")})
    metadata.execute("one", "Copy", {"again": examples}, state=Execution.CACHED)
    found = run_artifacts(metadata.connection)
    assert (found.run, set(found.executions)) == ("one", {"Ingest", "Check", "Copy"})
    assert {key: artifact.uri for key, artifact in found.outputs.items()} == {
        ("Ingest", "examples"): "examples",
        ("Ingest", "rejected"): "rejected",
        ("Ingest", "ingested"): "ingested",
        ("Check", "blessing"): "blessing",
        ("Copy", "again"): "examples",
    }


@pytest.mark.usefixtures("order")
def test_the_newest_execution_and_live_artifacts_are_used(metadata: Metadata) -> None:
    metadata.execute("one", "Ingest", {"a": metadata.artifact("first"), "b": metadata.artifact("other")})
    again = {"b": metadata.artifact("half", state=Artifact.ABANDONED), "a": metadata.artifact("second")}
    metadata.execute("one", "Ingest", again)
    found = run_artifacts(metadata.connection)
    assert (found.uri("Ingest", "a"), found.uri("Ingest", "b")) == ("second", None)


@pytest.mark.usefixtures("order")
def test_the_newest_or_the_named_run_is_read(metadata: Metadata) -> None:
    for run in ("b", "c", "a"):
        metadata.execute(run, "Ingest", {"examples": metadata.artifact(run)})
    for run, expected in (("", "a"), ("c", "c")):
        found = run_artifacts(metadata.connection, run)
        assert (found.run, found.uri("Ingest", "examples")) == (expected, expected)
    assert run_artifacts(metadata.connection, run="d").executions == {}
    metadata.execute("running", "Ingest", {}, state=Execution.RUNNING)
    assert run_artifacts(metadata.connection).run == "running"
    assert run_artifacts(metadata.connection, finished="Ingest").run == "a"

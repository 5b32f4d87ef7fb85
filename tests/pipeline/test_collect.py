"""What the report takes from ML Metadata, and what it says of songs that were not as they should be."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2

from tumbao.pipeline.collect import remarks, run_artifacts

SOUND: dict[str, Any] = {"padded": False, "truncated": False, "silent": 0, "seconds": 95.04, "declared_seconds": 200.0}


@pytest.mark.parametrize(
    ("told", "remark"),
    [
        ({"padded": True}, "shorter than a fragment: silence was added"),
        ({"truncated": True}, "truncated: decoded 95.0 of 200.0 s"),
        ({"truncated": True, "declared_seconds": None}, "truncated: decoded 95.0 s"),
        ({"silent": 1}, "1 fragment is silent and left out"),
        ({"silent": 3}, "3 fragments are silent and left out"),
    ],
)
def test_each_fault_has_its_remark(told: dict[str, Any], remark: str) -> None:
    assert list(remarks(SOUND | told)) == [remark]


def test_a_sound_song_has_none_and_a_bad_one_several() -> None:
    assert list(remarks(SOUND)) == []
    assert len(list(remarks(SOUND | {"padded": True, "truncated": True, "silent": 1}))) == 3


Execution, Artifact, Event = metadata_store_pb2.Execution, metadata_store_pb2.Artifact, metadata_store_pb2.Event


class Metadata:
    """ML Metadata in a file, written to as TFX does."""

    def __init__(self, folder: Path) -> None:
        self.connection = metadata_store_pb2.ConnectionConfig()
        self.connection.sqlite.filename_uri = str(folder / "metadata.sqlite")
        mode = metadata_store_pb2.SqliteMetadataSourceConfig
        self.connection.sqlite.connection_mode = mode.READWRITE_OPENCREATE
        self._store = mlmd.MetadataStore(self.connection)
        self._types = {
            kind: getattr(self._store, f"put_{kind}_type")(make(name=name))
            for kind, name, make in (
                ("artifact", "Anything", metadata_store_pb2.ArtifactType),
                ("execution", "Component", metadata_store_pb2.ExecutionType),
            )
        }

    def artifact(self, uri: str, state: int = Artifact.LIVE) -> int:
        (number,) = self._store.put_artifacts([Artifact(type_id=self._types["artifact"], uri=uri, state=state)])
        return int(number)

    def execute(self, run: str, component: str, outputs: dict[str, int], state: int = Execution.COMPLETE) -> None:
        """Put an execution into ML Metadata, and its events in the order of the outputs."""
        execution = Execution(type_id=self._types["execution"], last_known_state=state)
        (execution.id,) = self._store.put_executions([execution])
        links = []
        for kind, name in (("node", f"tumbao.{component}"), ("pipeline", "tumbao"), ("pipeline_run", run)):
            type_id = self._store.put_context_type(metadata_store_pb2.ContextType(name=kind))
            context = self._store.get_context_by_type_and_name(kind, name)
            number = context.id if context else None
            if number is None:
                (number,) = self._store.put_contexts([metadata_store_pb2.Context(type_id=type_id, name=name)])
            links.append(metadata_store_pb2.Association(execution_id=execution.id, context_id=number))
        self._store.put_attributions_and_associations([], links)
        for key, artifact in outputs.items():
            event = Event(artifact_id=artifact, execution_id=execution.id, type=Event.OUTPUT)
            event.path.steps.add(key=key)
            event.path.steps.add(index=0)
            self._store.put_events([event])


@pytest.fixture
def metadata(tmp_path: Path) -> Metadata:
    return Metadata(tmp_path)


@pytest.fixture(params=["as they come", "reversed", "shuffled"])
def order(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let ML Metadata answer with its lists in another order: it promises none."""
    arrange: dict[str, Callable[[list[Any]], list[Any]]] = {
        "as they come": list,
        "reversed": lambda found: found[::-1],
        "shuffled": lambda found: random.Random(1).sample(found, len(found)),
    }

    def asked(name: str) -> Callable[..., list[Any]]:
        own = getattr(mlmd.MetadataStore, name)
        return lambda *arguments: arrange[request.param](own(*arguments))

    for name in dir(mlmd.MetadataStore):
        if name.startswith("get_") and ("_by_" in name or name.endswith("s")) and "type_and_name" not in name:
            monkeypatch.setattr(mlmd.MetadataStore, name, asked(name))
    return str(request.param)


@pytest.mark.usefixtures("order")
def test_outputs_are_found_by_their_number_whatever_order_they_come_in(metadata: Metadata) -> None:
    rejected, ingested, examples = (metadata.artifact(name) for name in ("rejected", "ingested", "examples"))
    metadata.execute("one", "Ingest", {"examples": examples, "rejected": rejected, "ingested": ingested})
    metadata.execute("one", "Check", {"blessing": metadata.artifact("blessing")})
    found = run_artifacts(metadata.connection)
    assert (found.run, set(found.executions)) == ("one", {"Ingest", "Check"})
    assert {key: artifact.uri for key, artifact in found.outputs.items()} == {
        ("Ingest", "examples"): "examples",
        ("Ingest", "rejected"): "rejected",
        ("Ingest", "ingested"): "ingested",
        ("Check", "blessing"): "blessing",
    }


@pytest.mark.usefixtures("order")
def test_one_artifact_may_be_the_output_of_several_components(metadata: Metadata) -> None:
    shared = metadata.artifact("shared")
    metadata.execute("one", "Ingest", {"a": metadata.artifact("own"), "b": shared})
    metadata.execute("one", "Copy", {"c": shared}, Execution.CACHED)
    found = run_artifacts(metadata.connection)
    assert [found.uri(*place) for place in (("Ingest", "a"), ("Ingest", "b"), ("Copy", "c"))] == [
        "own",
        "shared",
        "shared",
    ]


@pytest.mark.usefixtures("order")
def test_the_newest_execution_of_a_component_counts_and_what_is_gone_does_not(metadata: Metadata) -> None:
    metadata.execute("one", "Ingest", {"a": metadata.artifact("first"), "b": metadata.artifact("other")})
    again = {"b": metadata.artifact("half", Artifact.ABANDONED), "a": metadata.artifact("second")}
    metadata.execute("one", "Ingest", again)
    found = run_artifacts(metadata.connection)
    assert (found.uri("Ingest", "a"), found.uri("Ingest", "b")) == ("second", None)


@pytest.mark.usefixtures("order")
def test_the_newest_run_counts_or_the_one_that_is_named(metadata: Metadata) -> None:
    for run in ("b", "c", "a"):
        metadata.execute(run, "Ingest", {"examples": metadata.artifact(run)})
    for asked, run in (({}, "a"), ({"run": "c"}, "c")):
        found = run_artifacts(metadata.connection, **asked)  # type: ignore[arg-type] # a table of arguments
        assert (found.run, found.uri("Ingest", "examples")) == (run, run)
    assert run_artifacts(metadata.connection, run="d").executions == {}


@pytest.mark.usefixtures("order")
def test_a_run_that_is_at_work_is_passed_over_where_its_records_are_asked_for(metadata: Metadata) -> None:
    metadata.execute("done", "Ingest", {"examples": metadata.artifact("examples")})
    metadata.execute("at work", "Ingest", {}, Execution.RUNNING)
    assert run_artifacts(metadata.connection).run == "at work"
    assert run_artifacts(metadata.connection, past="Ingest").uri("Ingest", "examples") == "examples"

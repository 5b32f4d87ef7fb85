"""ML Metadata in a file, written as TFX writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

Execution, Artifact, Event = metadata_store_pb2.Execution, metadata_store_pb2.Artifact, metadata_store_pb2.Event


class Metadata:
    def __init__(self, workspace: Path) -> None:
        self.connection = metadata_store_pb2.ConnectionConfig()
        self.connection.sqlite.filename_uri = str(workspace / "metadata.sqlite")
        mode = metadata_store_pb2.SqliteMetadataSourceConfig
        self.connection.sqlite.connection_mode = mode.READWRITE_OPENCREATE
        self.store = mlmd.MetadataStore(self.connection)
        self._type = self.store.put_execution_type(metadata_store_pb2.ExecutionType(name="Component"))

    def artifact(self, uri: str, kind: str = "Anything", state: int = Artifact.LIVE) -> int:
        type_id = self.store.put_artifact_type(metadata_store_pb2.ArtifactType(name=kind))
        (number,) = self.store.put_artifacts([Artifact(type_id=type_id, uri=uri, state=state)])
        return int(number)

    def execute(
        self,
        run: str,
        component: str,
        outputs: Mapping[str, int],
        inputs: Mapping[str, int] | None = None,
        state: int = Execution.COMPLETE,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Put an execution, with its events in the order of inputs and outputs."""
        values = {name: metadata_store_pb2.Value(string_value=value) for name, value in (properties or {}).items()}
        execution = Execution(type_id=self._type, last_known_state=state, custom_properties=values)
        (execution.id,) = self.store.put_executions([execution])
        links = []
        for kind, name in (("node", f"tumbao.{component}"), ("pipeline", "tumbao"), ("pipeline_run", run)):
            type_id = self.store.put_context_type(metadata_store_pb2.ContextType(name=kind))
            context = self.store.get_context_by_type_and_name(kind, name)
            number = context.id if context else None
            if number is None:
                (number,) = self.store.put_contexts([metadata_store_pb2.Context(type_id=type_id, name=name)])
            links.append(metadata_store_pb2.Association(execution_id=execution.id, context_id=number))
        self.store.put_attributions_and_associations([], links)
        for artifacts, direction in ((inputs or {}, Event.INPUT), (outputs, Event.OUTPUT)):
            for key, artifact in artifacts.items():
                event = Event(artifact_id=artifact, execution_id=execution.id, type=direction)
                event.path.steps.add(key=key)
                event.path.steps.add(index=0)
                self.store.put_events([event])

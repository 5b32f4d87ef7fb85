"""Queries of ML Metadata: artefacts of a run, training data of the last one, and the head to resume from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_metadata as mlmd
from ml_metadata.proto import metadata_store_pb2

from tumbao.analysis.drift.descriptors import TrainingData
from tumbao.components.ingest.paths import as_path
from tumbao.components.ingest.tables import split_rows
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec
from tumbao.schema.record import SPLITS
from tumbao.trainer.fit import HEAD_FILE
from tumbao.trainer.training import Training

if TYPE_CHECKING:
    from tumbao.pipeline.resolve import Resolved

METADATA_FILE = "metadata.sqlite"
LIVE, OUTPUT = metadata_store_pb2.Artifact.LIVE, metadata_store_pb2.Event.OUTPUT


@dataclasses.dataclass(frozen=True)
class Artifacts:
    """Executions and output artefacts of one run."""

    run: str  # empty if there is no run
    executions: dict[str, Any]  # by component
    outputs: dict[tuple[str, str], Any]  # by component and output key

    def uri(self, component: str, key: str) -> str | None:
        """Return the URI of an output, or None if the run did not produce it."""
        artifact = self.outputs.get((component, key))
        return artifact.uri if artifact is not None else None


def run_artifacts(connection: Any, run: str = "", finished: str = "") -> Artifacts:
    """Read the newest run, or that named `run`, in which the component `finished` has ended; empty if there is none."""
    store = mlmd.MetadataStore(connection)
    for context in sorted(store.get_contexts_by_type("pipeline_run"), key=lambda one: one.id, reverse=True):
        if run in ("", context.name):
            artifacts = _artifacts(store, context)
            execution = artifacts.executions.get(finished)
            if not finished or (execution and execution.last_known_state != metadata_store_pb2.Execution.RUNNING):
                return artifacts
    return Artifacts("", {}, {})


def _artifacts(store: Any, run: Any) -> Artifacts:
    """Read one run. ML Metadata guarantees no order; the newest of several executions of a component is used."""
    executions = {}
    for execution in sorted(store.get_executions_by_context(run.id), key=lambda one: one.id):
        for context in store.get_contexts_by_execution(execution.id):
            if context.type == "node":
                executions[context.name.partition(".")[2]] = execution
    components = {execution.id: component for component, execution in executions.items()}
    events = [one for one in store.get_events_by_execution_ids(list(components)) if one.type == OUTPUT]
    found = store.get_artifacts_by_id(sorted({event.artifact_id for event in events}))
    live = {artifact.id: artifact for artifact in found if artifact.state == LIVE}
    outputs = {
        (components[event.execution_id], event.path.steps[0].key): live[event.artifact_id]
        for event in sorted(events, key=lambda one: one.artifact_id)
        if event.artifact_id in live
    }
    return Artifacts(run.name, executions, outputs)


def find_training(workspace: Path) -> TrainingData:
    """Find the records that the last run of a workspace was trained on."""
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str((workspace / METADATA_FILE).absolute())
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    try:
        artifacts = run_artifacts(connection, finished="AudioExampleGen")
    except RuntimeError as error:  # no database, or an empty one
        raise UserError(
            f"Expected a workspace in which a model was trained. Received: {workspace}, where nothing ran. "
            "`tumbao run --data FOLDER` trains one; --workspace names another."
        ) from error
    examples, ingested = (artifacts.uri("AudioExampleGen", key) for key in ("examples", "ingested"))
    if not examples or not ingested or not list(as_path(examples).glob("Split-train/*.gz")):
        raise UserError(
            f"Expected records of the last run in {workspace}. Received: none, since the run ended before it had any, "
            "or the workspace was moved or cleared. `tumbao run` with its library makes them."
        )
    settings = artifacts.executions["AudioExampleGen"].custom_properties
    description = json.loads((as_path(settings["manifests"].string_value) / "catalog.json").read_text("utf-8"))
    return TrainingData(
        run=artifacts.run,
        library=description["library"],
        synthetic=description["synthetic"],
        genres=tuple(description["genres"]),
        spec=MelSpec(**json.loads(settings["mel_spec"].string_value)),
        examples=examples,
        ingested=f"{ingested}/ingested.jsonl",
    )


def trained_heads(store: Any) -> list[Any]:
    """Return the artefacts of trained heads; without one, --resume has nothing to start from."""
    heads = [artifact for artifact in store.get_artifacts_by_type("ModelRun") if artifact.state == LIVE]
    if not heads:
        raise UserError(
            "Expected an earlier run to resume from. Received: a workspace without one; leave --resume out."
        )
    return heads


def head_to_resume(store: Any, resolved: Resolved) -> str:
    """Return the newest head trained as in this run: another may have been trained on songs that are test songs now."""
    heads = sorted(trained_heads(store), key=lambda artifact: artifact.id, reverse=True)
    for head in heads:
        if not _differences(store, head, resolved):
            return f"{head.uri}/{HEAD_FILE}"
    raise UserError(
        "Expected an earlier run with the same songs, split, genres, seed and model to resume from: another head may "
        "have been trained on songs that are test songs now. The newest one "
        f"{', and '.join(_differences(store, heads[0], resolved))}. "
        "Leave --resume out to train from new weights, or run with the data and settings of that run."
    )


def _differences(store: Any, head: Any, resolved: Resolved) -> list[str]:
    """List how the training of a head, or of the head that it was resumed from, differs from this run."""
    events = [one for one in store.get_events_by_artifact_ids([head.id]) if one.type == OUTPUT]
    (trainer,) = store.get_executions_by_id([events[0].execution_id])
    former = json.loads(trainer.custom_properties["custom_config"].string_value)
    before, now = Training(**former["training"]), resolved.config.head
    found = [
        f"has another {name}: {old}, not {new}"
        for name, old, new in (
            ("model", former["model"], resolved.config.model.name),
            ("list of genres", ", ".join(former["genres"]), ", ".join(resolved.genres)),
            ("seed", before.seed, now.seed),
            ("number of units", before.units, now.units),
            ("fine_tune", before.fine_tune > 0, now.fine_tune > 0),
            ("file of weights", former["weights"] or "random", resolved.weights_file or "random"),
            ("form of mel images", former["mel_spec"], dataclasses.asdict(resolved.mel_spec)),
        )
        if old != new
    ]
    if former["tune"]:
        found.append("was trained with the settings of a search (--tune)")
    if not as_path(f"{former['manifests']}/{SPLITS[0]}.csv").exists():
        found.append(f"was trained on songs whose list is missing ({former['manifests']})")
    elif _assignments(former["manifests"]) != _assignments(resolved.manifests):
        found.append("was trained on another library or split")
    if found or not former["resume"]:
        return found
    earlier = store.get_artifacts_by_uri(former["resume"].removesuffix(f"/{HEAD_FILE}"))
    if not earlier:
        return ["was resumed from a head that is missing"]
    return [f"was resumed from a head that {one}" for other in earlier for one in _differences(store, other, resolved)]


def _assignments(manifests: str) -> set[tuple[str, ...]]:
    """Return the songs or parts of songs of manifests, with genre and split."""
    columns = ("sha256", "start", "end", "genre", "fragments", "split")
    return {tuple(row[column] for column in columns) for split in SPLITS for row in split_rows(split, manifests)}

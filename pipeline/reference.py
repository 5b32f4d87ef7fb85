"""Training data of a workspace's last run, found through ML Metadata."""

from __future__ import annotations

import json
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2

from tumbao.analysis.drift.songs import TrainingData
from tumbao.components.ingest.paths import as_path
from tumbao.pipeline.collect import run_artifacts
from tumbao.pipeline.runs import RUNS_FOLDER, read_runs
from tumbao.schema.errors import UserError
from tumbao.schema.mel_spec import MelSpec

METADATA_FILE = "metadata.sqlite"


def find_training(workspace: Path) -> TrainingData:
    """Find the records that the last run was trained on.

    Raises a `ValueError` if there was no run, the last run ended before it wrote records, or they were deleted.
    """
    file = workspace / METADATA_FILE
    connection = metadata_store_pb2.ConnectionConfig()
    connection.sqlite.filename_uri = str(file.absolute())
    connection.sqlite.connection_mode = metadata_store_pb2.SqliteMetadataSourceConfig.READONLY
    try:
        artifacts = run_artifacts(connection, past="AudioExampleGen")
    except RuntimeError as error:  # no database, or an empty one
        raise UserError(
            f"Expected a workspace in which a model was trained. Received: {workspace}, where nothing ran. "
            "`tumbao run --data FOLDER` trains one; --workspace names another."
        ) from error
    examples, ingested = (artifacts.uri("AudioExampleGen", key) for key in ("examples", "ingested"))
    if examples is None or ingested is None:
        raise UserError(
            f"Expected records of the last run in {workspace}. Received: a run that ended before it had any. "
            "`tumbao run` with its library goes on where it stood."
        )
    if not list(as_path(examples).glob("Split-train/*.gz")):
        raise UserError(
            f"Expected the records of the training split in {examples}. Received: no such files. "
            "Was the workspace moved, or cleared?"
        )
    settings = artifacts.executions["AudioExampleGen"].custom_properties
    description = json.loads((as_path(settings["manifests"].string_value) / "catalog.json").read_text("utf-8"))
    run = artifacts.run
    if not (workspace / RUNS_FOLDER / run).is_dir():  # earlier versions used other names in ML Metadata
        run = max((record.run for record in read_runs(workspace)), default="")
    return TrainingData(
        run=run,
        library=description["library"],
        synthetic=description["synthetic"],
        genres=tuple(description["genres"]),
        spec=MelSpec(**json.loads(settings["mel_spec"].string_value)),
        examples=examples,
        ingested=f"{ingested}/ingested.jsonl",
    )

"""Execution of a local run: interruption, names of runs, and messages on new test songs."""

from __future__ import annotations

import io
from pathlib import Path
from unittest import mock

import apache_beam as beam
import pytest
from rich.console import Console
from tfx import v1 as tfx
from tfx.orchestration.pipeline import RunOptions

from tumbao.components.ingest.frozen_test_set import TEST_SONGS_FILE
from tumbao.pipeline import execution
from tumbao.pipeline.config import parse
from tumbao.pipeline.execution import _interrupted
from tumbao.pipeline.metadata import run_artifacts
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.pipeline.runs import RunRecord


def interrupt(_: int) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_in_a_beam_worker_is_an_interruption() -> None:
    with (
        pytest.raises(Exception, match="KeyboardInterrupt") as caught,
        beam.Pipeline(argv=["--runner=FnApiRunner"]) as p,
    ):
        _ = p | beam.Create([1], reshuffle=False) | beam.Map(interrupt)
    assert not isinstance(caught.value, KeyboardInterrupt)
    assert _interrupted(caught.value)
    assert not _interrupted(RuntimeError("a fault"))


def test_ml_metadata_has_the_name_of_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "schema.pbtxt").touch()
    connection = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.sqlite"))
    schema = tfx.components.ImportSchemaGen(schema_file=str(tmp_path / "schema.pbtxt"))
    root = str(tmp_path / "pipeline")
    pipeline = tfx.dsl.Pipeline("tumbao", root, components=[schema], metadata_connection_config=connection)
    with ProgressDisplay(Console(file=io.StringIO())) as watch:
        assert execution._run(pipeline, None, "20260102-030405", tmp_path, watch) is None
        again = RunOptions(from_nodes=[schema.id])
        assert execution._run(pipeline, again, "20260102-030406", tmp_path, watch) is None
    for name in ("20260102-030405", "20260102-030406"):
        found = run_artifacts(connection, run=name)
        assert (found.run, set(found.outputs)) == (name, {("ImportSchemaGen", "schema")})
    assert run_artifacts(connection).run == "20260102-030406"
    assert "ZetaSQL" not in caplog.text


def test_new_test_songs_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object) -> mock.Mock:
        table = tmp_path / "catalogs" / TEST_SONGS_FILE
        table.parent.mkdir(parents=True)
        table.write_text("song,genre,sha256,start,end,learned\nb,salsa[live],2,0.0,,")
        return mock.Mock(resume="")

    monkeypatch.setattr(execution, "resolve", resolve)
    monkeypatch.setattr(execution, "exec_properties", mock.Mock(side_effect=ValueError("no graph here")))
    terminal, config = io.StringIO(), parse({"runner": {"root": str(tmp_path)}})
    with ProgressDisplay(Console(file=terminal)) as watch, pytest.raises(ValueError, match="no graph here"):
        execution.execute(config, RunRecord("one", "", "running"), tmp_path / "runs" / "one", watch)
    assert terminal.getvalue() == "New test songs, which later runs keep: 1 of salsa[live].\n"

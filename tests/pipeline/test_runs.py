"""Records of runs: written, read, locked, and unreadable ones reported."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tumbao.pipeline.runs import (
    LOCK_FILE,
    REPORT_FILE,
    RUNS_FOLDER,
    UNREADABLE,
    RunRecord,
    find_report,
    locked,
    read_runs,
    running,
)
from tumbao.schema.errors import UnavailableError

FULL = RunRecord(
    "20260504-030201",
    "2026-05-04T03:02:01+02:00",
    "pushed",
    library="música",
    songs=60,
    accuracy=0.9375,
    settings={"epochs": 5, "genres": ["salsa", "cumbia"], "resume": False},
)


def make_run(workspace: Path, name: str, report: bool = True) -> Path:
    RunRecord(name, "", "running").write(workspace)
    page = workspace / RUNS_FOLDER / name / REPORT_FILE
    if report:
        page.parent.mkdir()
        page.touch()
    return page


@pytest.mark.parametrize("library", ["música", "m\udcfasica"], ids=["UTF-8", "Latin-1"])
def test_record_round_trip(tmp_path: Path, library: str) -> None:
    RunRecord(FULL.run, FULL.started, "running").write(tmp_path / "new" / "workspace")
    record = dataclasses.replace(FULL, library=library)
    file = record.write(tmp_path / "new" / "workspace")
    assert file.parent.name == record.run
    assert list(file.parent.iterdir()) == [file]
    assert read_runs(tmp_path / "new" / "workspace") == [record]
    file.write_text(json.dumps({**json.loads(file.read_text()), "unknown": {"a": 1}}))
    assert read_runs(tmp_path / "new" / "workspace") == [record]


def test_reports_are_found_by_name_or_prefix(tmp_path: Path) -> None:
    first = make_run(tmp_path, "20260101-000000")
    last = make_run(tmp_path, "20260202-000000")
    make_run(tmp_path, "20260303-000000", report=False)
    assert find_report(tmp_path, "20260101-000000") == first
    assert find_report(tmp_path, "202601") == first
    assert find_report(tmp_path) == last
    longer = make_run(tmp_path, "20260101-000000-2")
    assert (find_report(tmp_path, "20260101-000000"), find_report(tmp_path, longer.parents[1].name)) == (first, longer)


@pytest.mark.parametrize("run", ["2026", "1999", "20260303-000000", "0101"])
def test_ambiguous_and_missing_reports_raise(tmp_path: Path, run: str) -> None:
    make_run(tmp_path, "20260101-000000")
    make_run(tmp_path, "20260202-000000")
    make_run(tmp_path, "20260303-000000", report=False)
    with pytest.raises(ValueError, match=f"run named {run} with a report .*: 20260101-000000, 20260202-000000"):
        find_report(tmp_path, run)


def test_a_workspace_can_be_locked_once(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UnavailableError, match="Another run is active"), locked(tmp_path):
        pass
    with locked(tmp_path):  # released
        pass


def test_runs_are_read_in_order_without_a_lock_and_those_that_have_none_were_killed(tmp_path: Path) -> None:
    for name in ("20260101-000001", "20260101-000000"):
        RunRecord(name, "2026-01-01T00:00:00+00:00", "running").write(tmp_path)
    FULL.write(tmp_path)
    assert [record.outcome for record in read_runs(tmp_path)] == ["killed", "killed", "pushed"]
    assert not (tmp_path / LOCK_FILE).exists()
    with locked(tmp_path), running(tmp_path, "20260101-000001"):
        assert [record.outcome for record in read_runs(tmp_path)] == ["killed", "running", "pushed"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff", b"\0\0\0", b"[" * 100_000, b'{"run": "1"}']
    + [json.dumps({**dataclasses.asdict(FULL), **wrong}).encode() for wrong in ({"accuracy": "high"}, {"songs": None})],
)
def test_an_unreadable_record_is_reported_beside_the_others(tmp_path: Path, content: bytes) -> None:
    FULL.write(tmp_path)
    file = FULL.write(tmp_path).parent.parent / "20260504-030202" / "run.json"
    file.parent.mkdir()
    file.write_bytes(content)
    whole, unreadable = read_runs(tmp_path)
    assert whole == FULL
    assert (unreadable.run, unreadable.outcome) == ("20260504-030202", UNREADABLE)
    assert unreadable.sentence.startswith(f"{file} is no record of a run: ")


@pytest.mark.parametrize("workspace", ["song.mp3", "song.mp3/workspace", "locked"])
def test_a_workspace_that_cannot_be_written_raises(tmp_path: Path, workspace: str) -> None:
    (tmp_path / "song.mp3").touch()
    (tmp_path / "locked" / LOCK_FILE).mkdir(parents=True)
    with (
        pytest.raises(ValueError, match=f"Received: {tmp_path}/{workspace} .* --workspace"),
        locked(tmp_path / workspace),
    ):
        pass


def test_a_workspace_in_a_bucket_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for workspace in (Path("gs://bucket/workspace"), Path("gs://bucket/workspace").absolute()):
        with pytest.raises(ValueError, match=r"on this machine.* Received: gs://bucket/workspace\."), locked(workspace):
            pass
    assert not list(tmp_path.iterdir())

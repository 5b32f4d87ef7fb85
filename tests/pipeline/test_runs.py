"""Runs are kept as files and found again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tumbao.errors import UnavailableError
from tumbao.pipeline import runs
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

FULL = RunRecord(
    run="20260504-030201",
    started="2026-05-04T03:02:01+02:00",
    outcome="pushed",
    sentence="Pushed: año nuevo.",
    library="música",
    synthetic=True,
    protocol="song",
    songs=60,
    accuracy=0.9375,
    blessed=True,
    pushed_to="/models/1",
    seconds=312.5,
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
def test_what_is_written_is_read(tmp_path: Path, library: str) -> None:
    record = dataclasses.replace(FULL, library=library)
    file = record.write(tmp_path / "new" / "workspace")
    assert file.parent.name == record.run
    assert read_runs(tmp_path / "new" / "workspace") == [record]


def test_writing_again_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    RunRecord(FULL.run, FULL.started, "running").write(tmp_path)
    file = FULL.write(tmp_path)
    assert read_runs(tmp_path) == [FULL]
    assert list(file.parent.iterdir()) == [file]


def test_runs_come_the_oldest_first(tmp_path: Path) -> None:
    names = ["20260504-030201", "20260504-030200", "20251231-235959"]
    for name in names:
        make_run(tmp_path, name)
    assert [run.run for run in read_runs(tmp_path)] == sorted(names)


def test_a_workspace_that_does_not_exist_has_no_runs(tmp_path: Path) -> None:
    assert read_runs(tmp_path / "nowhere") == []


def test_reports_are_found_by_name_by_beginning_and_the_last_by_default(tmp_path: Path) -> None:
    first = make_run(tmp_path, "20260101-000000")
    last = make_run(tmp_path, "20260202-000000")
    make_run(tmp_path, "20260303-000000", report=False)
    assert find_report(tmp_path, "20260101-000000") == first
    assert find_report(tmp_path, "202601") == first
    assert find_report(tmp_path) == last


def test_a_whole_name_wins_over_a_longer_one(tmp_path: Path) -> None:
    whole = make_run(tmp_path, "20260101")
    make_run(tmp_path, "20260101-2")
    assert find_report(tmp_path, "20260101") == whole


@pytest.mark.parametrize("run", ["2026", "1999", "20260303-000000", "0101"])
def test_an_ambiguous_a_missing_and_a_reportless_run_are_refused_and_the_others_named(tmp_path: Path, run: str) -> None:
    make_run(tmp_path, "20260101-000000")
    make_run(tmp_path, "20260202-000000")
    make_run(tmp_path, "20260303-000000", report=False)
    with pytest.raises(ValueError, match=f"run named {run} with a report .*: 20260101-000000, 20260202-000000"):
        find_report(tmp_path, run)


def test_no_run_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected a run with a report in .*: none\."):
        find_report(tmp_path)


def test_a_workspace_is_held_by_one_run_only(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UnavailableError, match="another run is at work"), locked(tmp_path):
        pass
    with locked(tmp_path):  # let go again
        pass


def test_a_run_that_says_it_runs_where_nobody_does_was_killed(tmp_path: Path) -> None:
    for name in ("20260101-000000", "20260101-000001"):
        RunRecord(name, "2026-01-01T00:00:00+00:00", "running").write(tmp_path)
    with locked(tmp_path), running(tmp_path, "20260101-000001"):
        assert [record.outcome for record in read_runs(tmp_path)] == ["killed", "running"]
    assert [record.outcome for record in read_runs(tmp_path)] == ["killed", "killed"]


def test_who_lists_runs_takes_nothing_that_a_run_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FULL.write(tmp_path)
    RunRecord("20260101-000000", "", "running").write(tmp_path)
    monkeypatch.setattr(runs, "locked", None)
    assert [record.outcome for record in read_runs(tmp_path)] == ["killed", "pushed"]
    assert not (tmp_path / LOCK_FILE).exists()


def test_what_a_later_version_writes_beside_is_passed_over(tmp_path: Path) -> None:
    file = FULL.write(tmp_path)
    file.write_text(json.dumps({**json.loads(file.read_text()), "mood": {"of": "the day"}}))
    assert read_runs(tmp_path) == [FULL]


@pytest.mark.parametrize(
    "torn",
    [b"", b"{", b"[]", b"null", b"\xff", b"\0\0\0", b"[" * 100_000, b'{"run": "1"}']
    + [json.dumps({**dataclasses.asdict(FULL), **wrong}).encode() for wrong in ({"accuracy": "high"}, {"songs": None})],
)
def test_a_record_that_cannot_be_read_is_named_and_hides_no_other(tmp_path: Path, torn: bytes) -> None:
    FULL.write(tmp_path)
    file = FULL.write(tmp_path).parent.parent / "20260504-030202" / "run.json"
    file.parent.mkdir()
    file.write_bytes(torn)
    whole, unreadable = read_runs(tmp_path)
    assert whole == FULL
    assert (unreadable.run, unreadable.outcome) == ("20260504-030202", UNREADABLE)
    assert unreadable.sentence.startswith(f"{file} is no record of a run: ")


@pytest.mark.parametrize("workspace", ["song.mp3", "song.mp3/workspace", "held"])
def test_a_workspace_that_cannot_be_written_to_is_refused(tmp_path: Path, workspace: str) -> None:
    (tmp_path / "song.mp3").touch()
    (tmp_path / "held" / LOCK_FILE).mkdir(parents=True)
    with (
        pytest.raises(ValueError, match=f"Received: {tmp_path}/{workspace} .* --workspace"),
        locked(tmp_path / workspace),
    ):
        pass


def test_runs_are_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    FULL.write(tmp_path)
    (tmp_path / LOCK_FILE).mkdir()
    assert read_runs(tmp_path) == [FULL]


def test_a_workspace_in_a_bucket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for workspace in (Path("gs://bucket/workspace"), Path("gs://bucket/workspace").absolute()):
        with pytest.raises(ValueError, match=r"on this machine.* Received: gs://bucket/workspace\."), locked(workspace):
            pass
    assert not list(tmp_path.iterdir())

"""Records of a workspace's runs: one folder for each run, with `run.json`, `log.txt` and the report."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.os_compat import lock
from tumbao.components.ingest.tables import read_record
from tumbao.schema.errors import UnavailableError, UserError

RUNS_FOLDER = "runs"
LOCK_FILE = "lock"
RECORD_FILE = "run.json"
LOG_FILE = "log.txt"
REPORT_FILE = "report/index.html"

UNREADABLE = "unreadable"
"""Outcome of a record that cannot be read; it is never written to a file."""


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """Record of one run."""

    run: str  # name of its folder, made from its start
    started: str  # in ISO 8601 with the time zone
    outcome: str  # running, killed, interrupted, misused, `UNREADABLE` or an outcome of `verdict`
    sentence: str = ""
    library: str = ""
    synthetic: bool = False
    protocol: str = ""
    songs: int = 0
    accuracy: float | None = None  # over the fragments of the test split
    blessed: bool = False
    pushed_to: str = ""  # empty if the model was not pushed
    seconds: float = 0.0
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def write(self, workspace: Path) -> Path:
        """Write the record to `run.json` atomically."""
        file = workspace / RUNS_FOLDER / self.run / RECORD_FILE
        write_whole(file, f"{json.dumps(dataclasses.asdict(self), indent=1)}\n".encode())
        return file


@contextlib.contextmanager
def locked(workspace: Path) -> Iterator[None]:
    """Lock a workspace, which is created if it is missing, against other processes."""
    if "gs:" in workspace.parts:  # `pathlib` shortens gs:// to gs:/
        raise UserError(
            "Expected a workspace on this machine, for the database and the lock. Received: "
            f"{'gs://' + workspace.as_posix().partition('gs:/')[2]}. Songs, weights and pushed models may be in a "
            "bucket; with everything in a bucket, use `tumbao submit`."
        )
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        file = (workspace / LOCK_FILE).open("w")
    except OSError as error:
        raise UserError(
            f"Expected a folder that can be written to, or can be made. Received: {workspace} ({error.strerror}). "
            "Name another with --workspace."
        ) from error
    with file:
        try:
            lock(file.fileno())
        except BlockingIOError as error:
            raise UnavailableError(
                f"Another run is active in {workspace}. Wait for it, or choose another workspace with --workspace."
            ) from error
        yield


@contextlib.contextmanager
def running(workspace: Path, run: str) -> Iterator[None]:
    """Mark a run as running by a lock on its folder, which ends with the process even if that is killed."""
    folder = workspace / RUNS_FOLDER / run
    folder.mkdir(parents=True, exist_ok=True)
    with _opened(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_runs(workspace: Path) -> list[RunRecord]:
    """Read all runs of a workspace, the oldest first; one that cannot be read has the outcome `UNREADABLE`."""
    return [_read(file) for file in sorted((workspace / RUNS_FOLDER).glob(f"*/{RECORD_FILE}"))]


def _read(file: Path) -> RunRecord:
    try:
        record = read_record(RunRecord, file.read_bytes())
        if record.outcome == "running":
            with _opened(file.parent) as descriptor, contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return dataclasses.replace(record, outcome="killed")
    except (ValueError, OSError) as error:
        return RunRecord(file.parent.name, "", UNREADABLE, f"{file} is no record of a run: {error}")
    return record


def find_report(workspace: Path, run: str | None = None) -> Path:
    """Return the path of a run's report, given the run's name or a unique prefix; by default the last report."""
    reports = {file.parents[1].name: file for file in (workspace / RUNS_FOLDER).glob(f"*/{REPORT_FILE}")}
    matching = sorted(name for name in reports if name.startswith(run or ""))
    if not matching or (run and len(matching) > 1 and run not in reports):
        which = f"a run named {run}" if run else "a run"
        known = ", ".join(sorted(reports)) or "none"
        raise UserError(f"Expected {which} with a report in {workspace}. Received, runs with a report: {known}.")
    return reports[run if run in reports else matching[-1]]

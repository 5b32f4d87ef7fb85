"""The runs of a workspace, as files: one folder a run with `run.json`, `log.txt` and the report."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tumbao.components.ingest.kept_records import read_record
from tumbao.components.ingest.whole_folder import write_whole
from tumbao.errors import UnavailableError, UserError

RUNS_FOLDER = "runs"
LOCK_FILE = "lock"
RECORD_FILE = "run.json"
LOG_FILE = "log.txt"
REPORT_FILE = "report/index.html"

UNREADABLE = "unreadable"
"""Outcome given for a record that cannot be read; it is never written."""


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """What is kept of one run.

    Parameters
    ----------
    run : str
        Name of the run's folder: when it began.
    started : str
        ISO 8601, with the zone.
    outcome : str
        `running`, `killed`, `interrupted`, `misused`, `UNREADABLE`, or an outcome of `report.verdict`.
    sentence : str
        What became of it, in words.
    library : str
        Name of the library.
    synthetic : bool
        Whether its songs are composed, not recorded.
    protocol : str
        How it was split.
    songs : int
        Ingested songs.
    accuracy : float or None
        On the test split, over fragments; None where the run did not get there.
    blessed : bool
        Whether the Evaluator and the mobile check blessed the model.
    pushed_to : str
        Where the model stands; empty where it was not pushed.
    seconds : float
        How long the run took.
    settings : dict
        The run's settings.
    """

    run: str
    started: str
    outcome: str
    sentence: str = ""
    library: str = ""
    synthetic: bool = False
    protocol: str = ""
    songs: int = 0
    accuracy: float | None = None
    blessed: bool = False
    pushed_to: str = ""
    seconds: float = 0.0
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)

    def write(self, workspace: Path) -> Path:
        """Write the record; a reader never sees half of it.

        Parameters
        ----------
        workspace : Path
            The workspace.

        Returns
        -------
        file : Path
            The run's `run.json`.
        """
        file = workspace / RUNS_FOLDER / self.run / RECORD_FILE
        write_whole(file, f"{json.dumps(dataclasses.asdict(self), indent=1)}\n".encode())
        return file


@contextlib.contextmanager
def locked(workspace: Path) -> Iterator[None]:
    """Hold a workspace; the system lets it go when the process ends, however it ends.

    Parameters
    ----------
    workspace : Path
        The workspace; made if missing.

    Yields
    ------
    None
        While no other process holds it.

    Raises
    ------
    UserError
        If it is an address, or no folder that can be written to.
    UnavailableError
        If another run is at work there.
    """
    if "gs:" in workspace.parts:  # what `pathlib` leaves of gs://
        raise UserError(
            "Expected a workspace on this machine, where a database and a lock can be. Received: "
            f"{'gs://' + workspace.as_posix().partition('gs:/')[2]}. Songs, weights and the place where models are "
            "pushed may be addresses; a run with everything in a bucket is `tumbao submit`'s."
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
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(
                f"Expected a workspace where nothing runs. Received: {workspace}, where another run is at work. "
                "Wait for it, or name another with --workspace."
            ) from error
        yield


@contextlib.contextmanager
def running(workspace: Path, run: str) -> Iterator[None]:
    """Mark a run as running; the mark ends with the process, however that ends.

    Parameters
    ----------
    workspace : Path
        The workspace.
    run : str
        Name of the run; its folder is made.

    Yields
    ------
    None
        Meanwhile `read_runs` gives its outcome as `running`.
    """
    folder = workspace / RUNS_FOLDER / run
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _is_running(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def read_runs(workspace: Path) -> list[RunRecord]:
    """Read all runs of a workspace, also while one is at work.

    Parameters
    ----------
    workspace : Path
        The workspace; it need not exist.

    Returns
    -------
    runs : list of RunRecord
        The oldest first. A record that cannot be read has the outcome `UNREADABLE` and the reason as its sentence.
    """
    return [_read(file) for file in sorted((workspace / RUNS_FOLDER).glob(f"*/{RECORD_FILE}"))]


def _read(file: Path) -> RunRecord:
    try:
        record = read_record(RunRecord, file.read_bytes())
        if record.outcome == "running" and not _is_running(file.parent):
            return dataclasses.replace(record, outcome="killed")
    except (ValueError, OSError) as error:
        return RunRecord(file.parent.name, "", UNREADABLE, f"{file} is no record of a run: {error}")
    return record


def find_report(workspace: Path, run: str | None = None) -> Path:
    """Find a run's report.

    Parameters
    ----------
    workspace : Path
        The workspace.
    run : str or None
        Name of the run, or its beginning; None for the last run with a report.

    Returns
    -------
    report : Path
        The page.

    Raises
    ------
    ValueError
        If there is no such run, or it has no report.
    """
    reports = {file.parents[1].name: file for file in (workspace / RUNS_FOLDER).glob(f"*/{REPORT_FILE}")}
    matching = sorted(name for name in reports if name.startswith(run or ""))
    if not matching or (run and len(matching) > 1 and run not in reports):
        which = f"a run named {run}" if run else "a run"
        known = ", ".join(sorted(reports)) or "none"
        raise UserError(f"Expected {which} with a report in {workspace}. Received, runs with a report: {known}.")
    return reports[run if run in reports else matching[-1]]

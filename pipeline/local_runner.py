"""The local runner: runs the pipeline in a workspace, with progress on the terminal, a log and a report."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tumbao.components.ingest import progress
from tumbao.components.ingest.paths import as_path
from tumbao.pipeline import runs
from tumbao.pipeline.config import Order, UsageError
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.pipeline.redirect_output import noise_to
from tumbao.schema.errors import describe

DONE, FAILED, WRONG_USE, NOT_BLESSED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes of a run."""

_CODES = {
    "pushed": DONE,
    "standing": DONE,
    "unfinished": DONE,
    "failed": FAILED,
    "misused": WRONG_USE,
    "refused": NOT_BLESSED,
    "interrupted": INTERRUPTED,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LocalRun(Order):
    """Settings of a local run.

    - `workspace`: folder of metadata, artefacts, runs and pushed models.
    - `push_to`: where blessed models are pushed.
    - `resume`: start training from the last run's best weights.
    - `from_component`, `to_component`: first and last component to run; empty for the whole graph.
    """

    workspace: Path
    push_to: str
    resume: bool
    from_component: str
    to_component: str


def run(asked: LocalRun, console: Console) -> tuple[int, runs.RunRecord]:
    """Run the pipeline on this machine, and record its end in `run.json` even if it fails.

    Returns the exit code (`DONE`, `FAILED`, `WRONG_USE`, `NOT_BLESSED` or `INTERRUPTED`) and the run's record. Raises a
    `UserError` if the workspace cannot be written to, and an `UnavailableError` if another run is at work in it.
    """
    with runs.locked(asked.workspace):
        return _run(asked, console)


def _run(asked: LocalRun, console: Console) -> tuple[int, runs.RunRecord]:
    started = datetime.datetime.now().astimezone()
    name = started.strftime("%Y%m%d-%H%M%S")
    while (asked.workspace / runs.RUNS_FOLDER / name).exists():  # an earlier run began in the same second
        name += "a"
    settings = {
        field.name: getattr(asked, field.name) for field in dataclasses.fields(asked) if field.name != "growing"
    }
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    settings |= {**settings.pop("training"), **settings.pop("settings")}
    record = runs.RunRecord(
        name, started.isoformat(timespec="seconds"), "running", library=as_path(asked.data).name, settings=settings
    )
    folder = asked.workspace / runs.RUNS_FOLDER / name
    with runs.running(asked.workspace, name):
        record.write(asked.workspace)
        return _recorded(asked, record, folder, console)


def _recorded(asked: LocalRun, record: runs.RunRecord, folder: Path, console: Console) -> tuple[int, runs.RunRecord]:
    name = record.run
    begin = time.monotonic()
    with noise_to(folder / runs.LOG_FILE, console) as quiet, ProgressDisplay(quiet) as watch, progress.listen(watch):
        watch.say(
            f"Run {name}: {escape(str(asked.data))} → {escape(str(asked.workspace))}  (log: {folder.name}/log.txt)"
        )
        try:
            from tumbao.pipeline import execution

            record = execution.execute(asked, record, folder, watch)
        except KeyboardInterrupt:
            record = dataclasses.replace(
                record, outcome="interrupted", sentence="Interrupted. The same command goes on where it stood."
            )
        except UsageError as error:
            record = dataclasses.replace(record, outcome="misused", sentence=str(error))
        except Exception as error:
            logging.exception("The run failed")
            record = dataclasses.replace(record, outcome="failed", sentence=describe(error, [asked.workspace]))
        record = dataclasses.replace(record, seconds=round(time.monotonic() - begin, 1))
        record.write(asked.workspace)
    return _CODES[record.outcome], record

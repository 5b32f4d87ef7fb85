"""The local runner: one workspace folder, progress on the terminal, noise in a log, a report at the end."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tumbao import progress
from tumbao.components.ingest.places import place
from tumbao.errors import describe
from tumbao.pipeline import runs
from tumbao.pipeline.config import Order, UsageError
from tumbao.pipeline.noise import noise_to
from tumbao.pipeline.watch import Watch

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
    """What a person asked this machine for.

    Parameters
    ----------
    workspace : Path
        Folder of metadata, artefacts, runs and pushed models.
    push_to : str
        Where blessed models are pushed.
    resume : bool
        Whether training starts from the last run's best weights.
    from_component, to_component : str
        Where to begin and to end; empty for the whole graph.
    """

    workspace: Path
    push_to: str
    resume: bool
    from_component: str
    to_component: str


def run(asked: LocalRun, console: Console) -> tuple[int, runs.RunRecord]:
    """Run the pipeline here and write the report, however the run ends.

    Parameters
    ----------
    asked : LocalRun
        What to run.
    console : Console
        The terminal.

    Returns
    -------
    code : int
        `DONE`, `FAILED`, `WRONG_USE`, `NOT_BLESSED` or `INTERRUPTED`.
    record : RunRecord
        What is kept of the run.

    Raises
    ------
    UserError
        If the workspace cannot be written to.
    UnavailableError
        If another run is at work in the workspace.
    """
    with runs.locked(asked.workspace):
        return _run(asked, console)


def _run(asked: LocalRun, console: Console) -> tuple[int, runs.RunRecord]:
    started = datetime.datetime.now().astimezone()
    name = started.strftime("%Y%m%d-%H%M%S")
    while (asked.workspace / runs.RUNS_FOLDER / name).exists():  # an earlier run of the same second
        name += "a"
    settings = {
        field.name: getattr(asked, field.name) for field in dataclasses.fields(asked) if field.name != "growing"
    }
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    settings |= {**settings.pop("training"), **settings.pop("settings")}
    record = runs.RunRecord(
        name, started.isoformat(timespec="seconds"), "running", library=place(asked.data).name, settings=settings
    )
    folder = asked.workspace / runs.RUNS_FOLDER / name
    with runs.running(asked.workspace, name):
        record.write(asked.workspace)
        return _recorded(asked, record, folder, console)


def _recorded(asked: LocalRun, record: runs.RunRecord, folder: Path, console: Console) -> tuple[int, runs.RunRecord]:
    name = record.run
    begin = time.monotonic()
    with noise_to(folder / runs.LOG_FILE, console) as quiet, Watch(quiet) as watch, progress.listen(watch):
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

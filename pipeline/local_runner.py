"""The local runner: runs the pipeline in a workspace, with progress on the terminal, a log and a report."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tumbao.components.ingest import progress
from tumbao.components.ingest.paths import as_path
from tumbao.pipeline import runs
from tumbao.pipeline.config import LOCAL_BEAM, Config, UsageError
from tumbao.pipeline.failures import explain
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.pipeline.standard_streams import redirect_output, standard_streams
from tumbao.schema.errors import describe
from tumbao.serving.formatting import TerminalConsole

DONE, FAILED, WRONG_USE, NOT_BLESSED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes of a run."""

_CODES = {
    "pushed": DONE,
    "standing": DONE,
    "unfinished": DONE,
    "failed": FAILED,
    "misused": WRONG_USE,
    "undecided": NOT_BLESSED,
    "refused": NOT_BLESSED,
    "interrupted": INTERRUPTED,
}


def run(config: Config, console: Console, growing: frozenset[str] = frozenset()) -> tuple[int, runs.RunRecord]:
    """Run the pipeline on this machine, and return the exit code and the record, which is written even if it fails."""
    workspace, runner = Path(config.root), config.runner
    with contextlib.ExitStack() as stack:
        stack.enter_context(runs.locked(workspace))
        begin, started = time.monotonic(), datetime.datetime.now().astimezone()
        name = started.strftime("%Y%m%d-%H%M%S")
        while (folder := workspace / runs.RUNS_FOLDER / name).exists():  # an earlier run began in the same second
            name += "a"
        settings = {
            **config.summary(),
            "workspace": config.root,
            "push_to": config.push_to,
            "resume": runner.resume,
            "from_component": runner.from_component,
            "to_component": runner.to_component,
            **({"beam_args": runner.beam_args} if runner.beam_args != LOCAL_BEAM else {}),
        }
        library = as_path(config.data.library).name
        record = runs.RunRecord(
            name, started.isoformat(timespec="seconds"), "running", library=library, settings=settings
        )
        stack.enter_context(runs.running(workspace, name))
        record.write(workspace)
        quiet = stack.enter_context(redirect_output(folder / runs.LOG_FILE, console))
        display = stack.enter_context(ProgressDisplay(quiet))
        stack.enter_context(progress.listen(display))
        display.say(f"Run {name}: {escape(config.data.library)} → {escape(config.root)}  (log: {name}/log.txt)")
        try:
            from tumbao.pipeline import execution

            record = execution.execute(config, record, folder, display, growing)
        except KeyboardInterrupt:
            sentence = "Interrupted. The same command continues the run."
            record = dataclasses.replace(record, outcome="interrupted", sentence=sentence)
        except UsageError as error:
            record = dataclasses.replace(record, outcome="misused", sentence=str(error))
        except Exception as error:
            logging.exception("The run failed")
            record = dataclasses.replace(record, outcome="failed", sentence=describe(error, [workspace]))
        record = dataclasses.replace(record, seconds=round(time.monotonic() - begin, 1))
        record.write(workspace)
    return _CODES[record.outcome], record


def start_process(config: Config, growing: frozenset[str] = frozenset()) -> subprocess.Popen[bytes]:
    """Start a run in a process group of its own: a terminal's Ctrl-C reaches only the process that waits for it."""
    command = [sys.executable, "-m", "tumbao.pipeline.local_runner"]
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: imports are not interrupt-safe
    try:
        with tempfile.TemporaryFile() as file:  # the length of arguments is limited
            pickle.dump((config, growing), file)
            file.seek(0)
            return subprocess.Popen(command, stdin=file, start_new_session=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _main(config: Config, growing: frozenset[str]) -> int:
    console = TerminalConsole(stderr=True)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return run(config, console, growing)[0]
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        _, sentence = explain(error, "run", [config.root])
        console.print(f"[bold red]error:[/bold red] {escape(sentence)}", highlight=False, soft_wrap=True)
        return FAILED  # for any error, since `tumbao watch` tries again


if __name__ == "__main__":
    with standard_streams():
        sys.exit(_main(*pickle.load(sys.stdin.buffer)))

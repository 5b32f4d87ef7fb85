"""A local run in a process of its own: its memory is freed at its end, and a crash does not end the caller."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile

from rich.markup import escape

from tumbao.pipeline import local
from tumbao.pipeline.failures import explain
from tumbao.pipeline.local import LocalRun
from tumbao.pipeline.standard_streams import standard_streams
from tumbao.pipeline.terminal import TerminalConsole


def start(asked: LocalRun) -> subprocess.Popen[bytes]:
    """Start a run.

    Parameters
    ----------
    asked : LocalRun
        What to run.

    Returns
    -------
    process : Popen
        Writes to this process's standard error and ends with the run's exit code. It leads a group of its own, so that
        a terminal's Ctrl-C does not reach it beside whoever waits for it. A SIGINT that comes before the run has begun
        waits until then.
    """
    command = [sys.executable, "-m", "tumbao.pipeline.run_apart"]
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: imports cannot be interrupted well
    try:
        with tempfile.TemporaryFile() as settings:  # an argument has a maximum length
            pickle.dump(asked, settings)
            settings.seek(0)
            return subprocess.Popen(command, stdin=settings, start_new_session=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _main(asked: LocalRun) -> int:
    console = TerminalConsole(stderr=True)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return local.run(asked, console)[0]
    except KeyboardInterrupt:
        return local.INTERRUPTED
    except Exception as error:
        _, sentence = explain(error, "run", [str(asked.workspace)])
        console.print(f"[bold red]error:[/bold red] {escape(sentence)}", highlight=False, soft_wrap=True)
        return local.FAILED  # whatever it is: `tumbao watch` tries again


if __name__ == "__main__":
    with standard_streams():
        sys.exit(_main(pickle.load(sys.stdin.buffer)))

"""A local run in a separate process, so that its memory is freed at its end and a crash does not end the caller."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile

from rich.markup import escape

from tumbao.pipeline import local_runner
from tumbao.pipeline.config import Config
from tumbao.pipeline.failures import explain
from tumbao.pipeline.standard_streams import standard_streams
from tumbao.serving.terminal import TerminalConsole


def start(config: Config, growing: frozenset[str] = frozenset()) -> subprocess.Popen[bytes]:
    """Start a run in a process that writes to this process's standard error and ends with the run's exit code.

    The process leads a process group of its own, so that a terminal's Ctrl-C reaches only the process that waits for
    it. A SIGINT that comes before the run has begun is delivered once it begins.
    """
    command = [sys.executable, "-m", "tumbao.pipeline.run_subprocess"]
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: imports are not interrupt-safe
    try:
        with tempfile.TemporaryFile() as settings:  # the length of arguments is limited
            pickle.dump((config, growing), settings)
            settings.seek(0)
            return subprocess.Popen(command, stdin=settings, start_new_session=True)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _main(config: Config, growing: frozenset[str]) -> int:
    console = TerminalConsole(stderr=True)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return local_runner.run(config, console, growing)[0]
    except KeyboardInterrupt:
        return local_runner.INTERRUPTED
    except Exception as error:
        _, sentence = explain(error, "run", [config.root])
        console.print(f"[bold red]error:[/bold red] {escape(sentence)}", highlight=False, soft_wrap=True)
        return local_runner.FAILED  # for any error, since `tumbao watch` tries again


if __name__ == "__main__":
    with standard_streams():
        sys.exit(_main(*pickle.load(sys.stdin.buffer)))

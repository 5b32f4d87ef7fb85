"""Programs in forks of one process that has imported TFX and TensorFlow, which takes seconds."""

from __future__ import annotations

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [__name__, "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor", "tumbao.pipeline.execution"]
)


def run_forked(main: Callable[[], object], arguments: Sequence[str], folder: Path, out: Path, err: Path) -> int:
    """Run a program's main function in a folder; write its output to two files, and return its exit code."""
    ours, theirs = FORKS.Pipe(duplex=False)
    with ours:
        with theirs:
            FORKS.Process(target=_run, args=(theirs, main, arguments, folder, out, err)).start()
        code: int = ours.recv()  # raises EOFError if the process was killed
    return code


def _run(
    result: Connection, main: Callable[[], object], arguments: Sequence[str], folder: Path, out: Path, err: Path
) -> None:
    os.chdir(folder)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with path.open("ab") as file:
            os.dup2(file.fileno(), stream.fileno())
    sys.argv[1:] = arguments
    code = 1
    try:
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    result.send(code)

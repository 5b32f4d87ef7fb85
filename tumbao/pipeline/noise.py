"""What libraries write past Python's own streams goes to a log, and not between a person's lines."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tumbao.errors import UserError
from tumbao.pipeline.standard_streams import error_stream
from tumbao.pipeline.terminal import TerminalConsole


@contextlib.contextmanager
def noise_to(log: Path, console: Console, streams: Sequence[int] = (1, 2)) -> Iterator[Console]:
    """Send what is written to the process's standard streams to a log; give a console on the terminal.

    Parameters
    ----------
    log : Path
        The file, in an existing folder; written at its end.
    console : Console
        What people see now.
    streams : sequence of int
        Standard output is 1, error is 2.

    Yields
    ------
    console : Console
        What people see meanwhile.
    """
    former = sys.stdout, sys.stderr
    for python in former:
        python.flush()
    kept = {stream: os.dup(stream) for stream in streams}
    with contextlib.ExitStack() as stack:
        file, apart = stack.enter_context(log.open("ab", buffering=0)), stack.enter_context(_apart(console))
        for stream in streams:
            os.dup2(file.fileno(), stream)
        if 1 in streams:  # noise that a full disk does not take is lost, and no reason to end
            stack.enter_context(contextlib.redirect_stdout(error_stream(1, closes=False)))
        try:
            yield apart
        except Exception as error:
            if not isinstance(error, UserError):
                file.write("".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace"))
                error.log = log  # type: ignore[attr-defined] # for `failures.explain`
            raise
        finally:
            for python in (sys.stdout, *former):
                python.flush()
            for stream, copy in kept.items():
                os.dup2(copy, stream)
                os.close(copy)


@contextlib.contextmanager
def _apart(console: Console) -> Iterator[Console]:
    """Give a console that writes to the same place, whatever becomes of the process's streams."""
    try:
        descriptor = os.dup(console.file.fileno())
    except io.UnsupportedOperation:  # it writes to none of them
        yield console
        return
    shape: dict[str, Any] = {"force_terminal": console.is_terminal, "width": console.width}  # known only before
    with error_stream(descriptor) as terminal:
        yield TerminalConsole(file=terminal, **shape)

"""Redirection of output that libraries write directly to file descriptors, to a log."""

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

from tumbao.pipeline.standard_streams import error_stream
from tumbao.schema.errors import UserError
from tumbao.serving.terminal import TerminalConsole


@contextlib.contextmanager
def noise_to(log: Path, console: Console, streams: Sequence[int] = (1, 2)) -> Iterator[Console]:
    """Redirect the process's standard streams to the end of a log; yield a console that still writes to the terminal.

    `streams` are file descriptors: 1 for output, 2 for error. The traceback of an error other than a `UserError` is
    written to the log.
    """
    former = sys.stdout, sys.stderr
    for python in former:
        python.flush()
    kept = {stream: os.dup(stream) for stream in streams}
    with contextlib.ExitStack() as stack:
        file, apart = stack.enter_context(log.open("ab", buffering=0)), stack.enter_context(_apart(console))
        for stream in streams:
            os.dup2(file.fileno(), stream)
        if 1 in streams:  # output that does not fit on a full disk is discarded without an error
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
    """Yield a console that writes to the same file, however the process's streams are redirected."""
    try:
        descriptor = os.dup(console.file.fileno())
    except io.UnsupportedOperation:  # no file descriptor, as StringIO
        yield console
        return
    shape: dict[str, Any] = {"force_terminal": console.is_terminal, "width": console.width}  # unknown afterwards
    with error_stream(descriptor) as terminal:
        yield TerminalConsole(file=terminal, **shape)

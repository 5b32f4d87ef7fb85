"""What libraries write past Python's own streams goes to a log, and not between a person's lines."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console


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
    sys.stdout.flush()
    sys.stderr.flush()
    kept = {stream: os.dup(stream) for stream in streams}
    with log.open("ab", buffering=0) as file, _apart(console) as apart:
        for stream in streams:
            os.dup2(file.fileno(), stream)
        try:
            yield apart
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
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
    with os.fdopen(descriptor, "w", encoding="utf-8") as terminal:
        yield Console(file=terminal, **shape)

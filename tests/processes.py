"""Child processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from multiprocessing import resource_tracker
from pathlib import Path


def children() -> set[int]:
    """Return the running children of this process, without the one in which multiprocessing tracks resources.

    The main thread of a killed process can be a zombie before its other threads have ended and its pipes are closed.
    """
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            state, parent, threads = fields[0], int(fields[1]), int(fields[17])
            if parent == os.getpid() and (state != "Z" or threads > 1):
                found.add(int(stat.parent.name))
    return found - {resource_tracker._resource_tracker._pid}  # type: ignore[attr-defined] # not public


def kill(pids: set[int]) -> None:
    """Kill processes with SIGKILL, as the kernel does when memory runs out."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_until_gone(before: set[int]) -> None:
    """Wait until there are no other children than those of `before`."""
    deadline = time.monotonic() + 10
    while children() - before:
        assert time.monotonic() < deadline
        time.sleep(0.05)

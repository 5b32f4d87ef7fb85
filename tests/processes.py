"""Child processes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from multiprocessing import resource_tracker
from pathlib import Path


def children() -> set[int]:
    """Return the running children of this process, without the one in which multiprocessing tracks resources."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid() and state != "Z":
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

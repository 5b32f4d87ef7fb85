"""Orderly end of a command: SIGINT and SIGTERM end its waits, and a process that it waits for receives SIGINT."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from types import FrameType

_LOOK_SECONDS = 1.0


class Stop:
    """Records the first SIGINT or SIGTERM in `signal`."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._event = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Handle SIGINT and SIGTERM, and restore the former handlers at the end. Works in the main thread only."""
        former = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def wait(self, seconds: float) -> None:
        """Wait for a time in seconds, or until a signal comes."""
        self._event.wait(seconds)

    def wait_for(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a process that leads a process group, and return its exit code, negative if a signal killed it.

        The first signal is forwarded to its group as SIGINT, also one that came before the call.
        """
        self._process = process
        if self.signal:
            self._hand_on()
        try:
            while True:  # without a timeout, a signal just before the wait would be noticed only after it
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(_LOOK_SECONDS)
        finally:
            self._process = None

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self.signal:
            self.signal = signal.Signals(number)
            self._event.set()
            self._hand_on()

    def _hand_on(self) -> None:
        process, self._process = self._process, None  # only once: a second SIGINT would interrupt its orderly end
        if process:
            with contextlib.suppress(ProcessLookupError):  # it has already ended
                os.killpg(process.pid, signal.SIGINT)

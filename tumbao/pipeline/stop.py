"""An orderly end: SIGINT and SIGTERM end the waiting; who is waited for gets SIGINT."""

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
    """Knows whether a signal has asked to end.

    Attributes
    ----------
    signal : signal.Signals or None
        The first that came.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._event = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Take the two signals over, in the main thread, and give them back at the end.

        Yields
        ------
        stop : Stop
            Itself.
        """
        former = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def wait(self, seconds: float) -> None:
        """Wait, or until a signal comes.

        Parameters
        ----------
        seconds : float
            At most.
        """
        self._event.wait(seconds)

    def wait_for(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a process.

        Parameters
        ----------
        process : Popen
            Leads a group of its own.

        Returns
        -------
        code : int
            Its exit code; negative if a signal killed it.
        """
        self._process = process
        if self.signal:
            self._hand_on()
        try:
            while True:  # a signal that comes just before a wait without a timeout is noticed only after it
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
        process, self._process = self._process, None  # once: a second would interrupt its orderly end
        if process:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGINT)

"""Progress of long steps.

Steps run in the runner's process (locally) or on a worker (in the cloud). Locally the runner sets a listener, which
displays the progress; without one, progress is logged, at most one line every `LOG_SECONDS`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

LOG_SECONDS = 15.0

Listener = Callable[[str, int, int], None]
"""Called with the step's name, the number of units that are done, and the total."""

_lock = threading.Lock()
_counts: dict[str, tuple[int, int]] = {}
_last_logged = 0.0


def _log(step: str, done: int, total: int) -> None:
    global _last_logged
    now = time.monotonic()
    if done >= total or now - _last_logged >= LOG_SECONDS:
        _last_logged = now
        logging.info("%s: %d of %d", step, done, total)


_listener: Listener = _log


def report(step: str, done: int, total: int) -> None:
    """Report how many units of a step, such as ``decode``, are done."""
    with _lock:
        _counts[step] = (done, total)
        _listener(step, done, total)


def start(step: str, total: int) -> None:
    """Announce a step."""
    report(step, 0, total)


def advance(step: str, amount: int = 1) -> None:
    """Report that more units of a step are done; ignored if the step was not started in this process."""
    with _lock:
        if step not in _counts:
            return
        done, total = _counts[step]
        _counts[step] = (done + amount, total)
        _listener(step, done + amount, total)


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Send every report to a listener in the context."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before

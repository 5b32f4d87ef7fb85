"""Progress of long steps: any step reports here, whoever runs the steps listens.

Steps run in the runner's process (locally) or on a worker (in the cloud). Locally the runner listens and draws; where
nobody listens, progress goes to the log, a line every `LOG_SECONDS` at most.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

LOG_SECONDS = 15.0

Listener = Callable[[str, int, int], None]
"""Called with the step's name, how much is done and how much there is."""

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
    """Report how far a step is.

    Parameters
    ----------
    step : str
        A verb or noun that a user understands, for example ``decode``.
    done : int
        How many units are done.
    total : int
        How many units there are.
    """
    with _lock:
        _counts[step] = (done, total)
        _listener(step, done, total)


def start(step: str, total: int) -> None:
    """Announce a step.

    Parameters
    ----------
    step : str
        Its name.
    total : int
        How many units there are.
    """
    report(step, 0, total)


def advance(step: str, amount: int = 1) -> None:
    """Report that more units of a step are done; a step that was not started in this process goes unseen.

    Parameters
    ----------
    step : str
        Name given to `start`.
    amount : int
        How many units are done since the last call.
    """
    with _lock:
        if step not in _counts:
            return
        done, total = _counts[step]
        _counts[step] = (done + amount, total)
        _listener(step, done + amount, total)


@contextlib.contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Send progress to a listener while the context lasts.

    Parameters
    ----------
    listener : callable
        Receives every report.
    """
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before

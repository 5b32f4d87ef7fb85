"""The processes that draw, shared by all that ask for drawings in this process, and gone when nobody does."""

from __future__ import annotations

import threading

from tumbao.components.ingest.read_ahead import ReadAhead

MOST_DRAWERS = 8
"""Each takes 0.7 GB, and who keeps what they draw has his hands full."""

_lock = threading.Lock()
_shared: list[ReadAhead] = []  # one, as often as it was acquired


def acquire() -> ReadAhead:
    """Take part in the drawers.

    Returns
    -------
    drawers : ReadAhead
        Started if nobody had them.
    """
    with _lock:
        _shared.append(_shared[0] if _shared else ReadAhead(MOST_DRAWERS))
        return _shared[0]


def release() -> None:
    """Take part no more; the last one ends them."""
    with _lock:
        drawers = _shared.pop()
        if not _shared:
            drawers.close()

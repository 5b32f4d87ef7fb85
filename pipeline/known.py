"""Check of names against the known ones."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from tumbao.pipeline.config import UsageError


def require_known(names: Iterable[object], known: Collection[str], what: str) -> None:
    """Raise a `UsageError` if a name is unknown, with the closest known name.

    `what` describes the names in the message. Names from YAML need not be strings.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"Expected {what} out of {', '.join(known)}. Received: {name}{guess}")

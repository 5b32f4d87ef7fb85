"""Names that a person gives, and those that there are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from tumbao.pipeline.config import UsageError


def require_known(names: Iterable[object], known: Collection[str], what: str) -> None:
    """Refuse names that there are none of, and guess which were meant.

    Parameters
    ----------
    names : iterable of object
        As they were given; YAML's need not be text.
    known : collection of str
        Those that there are.
    what : str
        What they name.

    Raises
    ------
    UsageError
        If a name is unknown.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"Expected {what} out of {', '.join(known)}. Received: {name}{guess}")

"""Errors that a person can mend, and a full disk told from other errors."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "database or disk is full")
_FULL_BYTES = 2**20  # with less than this free, a disk counts as the full one


class UserError(ValueError):
    """An argument, a setting or a file that cannot be used. The message says what is wrong and what to do."""


class UnavailableError(RuntimeError):
    """A process, the storage, the library or the workspace is not available now.

    The message says what is wrong and what to do.
    """


def is_disk_full(error: BaseException) -> bool:
    """Tell whether a full disk is behind an error, also where a library has wrapped it.

    Parameters
    ----------
    error : BaseException
        The error.

    Returns
    -------
    full : bool
        True for ENOSPC and EDQUOT, and for messages that quote them.
    """
    return any(
        (isinstance(one, OSError) and one.errno in _FULL) or any(words in str(one) for words in _FULL_WORDS)
        for one in _chain(error)
    )


def is_unavailable(error: BaseException) -> bool:
    """Tell whether an `UnavailableError` is behind an error, also where a library has wrapped it.

    Parameters
    ----------
    error : BaseException
        The error.

    Returns
    -------
    unavailable : bool
        Whether there is one.
    """
    return any(isinstance(one, UnavailableError) for one in _chain(error))


def describe(error: BaseException, folders: Iterable[str | Path] = ()) -> str:
    """Say in a line what happened.

    Parameters
    ----------
    error : BaseException
        The error.
    folders : iterable of str or Path
        What was written to; a full disk is looked for there if the error does not name a file.

    Returns
    -------
    sentence : str
        The message; of a full disk which one it is and what to do.
    """
    if is_disk_full(error):
        named = [one.filename for one in _chain(error) if isinstance(one, OSError) and one.errno in _FULL]
        full = [str(_existing(name)) for name in named if isinstance(name, str)]
        candidates = [_existing(folder) for folder in (*folders, tempfile.gettempdir(), Path())]
        full = full or [str(folder) for folder in candidates if shutil.disk_usage(folder).free < _FULL_BYTES]
        where = ", ".join(dict.fromkeys(full or map(str, candidates[:-1])))
        return f"No space left on the disk, or in the quota, of {where}. Free some, or choose another folder."
    if isinstance(error, UserError):
        return str(error)
    if is_unavailable(error):
        return next(str(one) for one in _chain(error) if isinstance(one, UnavailableError))
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename!r}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _existing(path: str | Path) -> Path:
    """Give a folder, or the nearest one above that exists; the root where it cannot be looked at."""
    whole = Path(path).absolute()
    with contextlib.suppress(OSError):
        return next(folder for folder in (whole, *whole.parents) if folder.is_dir())
    return Path(whole.root)

"""Errors that the user can correct, and detection of a full disk."""

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
    """An invalid argument, setting or file. The message says what is wrong and what to do."""


class UnavailableError(RuntimeError):
    """A process, the storage, the library or the workspace is currently not available."""


def is_disk_full(error: BaseException) -> bool:
    """Tell whether a full disk or quota caused an error, even if a library has wrapped it."""
    return any(
        (isinstance(one, OSError) and one.errno in _FULL) or any(words in str(one) for words in _FULL_WORDS)
        for one in _chain(error)
    )


def is_unavailable(error: BaseException) -> bool:
    """Tell whether an `UnavailableError` caused an error, even if a library has wrapped it."""
    return any(isinstance(one, UnavailableError) for one in _chain(error))


def describe(error: BaseException, folders: Iterable[str | Path] = ()) -> str:
    """Describe an error in one line; a full disk is searched for among `folders` if the error names no file."""
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
    """Return a folder, or its nearest parent that exists; the root if this cannot be determined."""
    whole = Path(path).absolute()
    with contextlib.suppress(OSError):
        return next(folder for folder in (whole, *whole.parents) if folder.is_dir())
    return Path(whole.root)

"""Errors of audio files, and their reasons."""

from __future__ import annotations

import enum
import errno
from pathlib import Path


class Reason(str, enum.Enum):
    """All reasons for which a file is not used."""

    UNREADABLE = "unreadable"
    IO_ERROR = "i/o error"
    EMPTY = "empty"
    UNSUPPORTED = "unsupported"
    NO_AUDIO = "no audio"
    DAMAGED = "damaged"
    NOT_FINITE = "not finite"
    SILENT = "silent"
    TOO_SHORT = "too short"
    TRUNCATED = "truncated"
    CHANGED = "changed"
    CRASHED = "crashed the decoder"
    TIMED_OUT = "timed out"
    DUPLICATE = "duplicate"
    UNKNOWN_GENRE = "unknown genre"
    OUTSIDE = "outside the library"
    UNFINISHED = "still being written"
    INVALID_ROW = "invalid row"


INFRASTRUCTURE_REASONS = frozenset({Reason.IO_ERROR, Reason.CRASHED, Reason.TIMED_OUT})
"""Reasons that may lie in the machine or the library's storage instead of the file: a retry may succeed."""

_FILE_ERRORS = frozenset(
    {
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM),
        *(errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.EOPNOTSUPP),
    }
)


class AudioError(ValueError):
    """Raised for a file that cannot be used.

    `reason` is the kind of error, for tables and counts; `message` describes it as the continuation of the file's name.
    """

    def __init__(self, path: str | Path, reason: Reason, message: str) -> None:
        super().__init__(str(path), reason, message)  # all arguments, so that the error can be unpickled
        self.path = str(path)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def unreadable(path: str | Path, error: OSError) -> AudioError:
    """Convert an operating system error to an `AudioError`."""
    reason = Reason.UNREADABLE if error.errno in _FILE_ERRORS else Reason.IO_ERROR
    return AudioError(path, reason, f"cannot be read: {error.strerror or error}")

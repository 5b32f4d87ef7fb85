"""What can be wrong with a file."""

from __future__ import annotations

import enum
import errno
from pathlib import Path


class Reason(str, enum.Enum):
    """Why a file is not used; there are no other reasons."""

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
    GROWING = "still being written"
    INVALID_ROW = "invalid row"


INFRASTRUCTURE_REASONS = frozenset({Reason.IO_ERROR, Reason.CRASHED, Reason.TIMED_OUT})
"""Reasons that may lie in the machine or in the library's storage, not in the file: another time it may be read."""

_FILE_ERRORS = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EACCES,
        errno.EPERM,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EINVAL,
        errno.ENXIO,
        errno.EOPNOTSUPP,
    }
)


class AudioError(ValueError):
    """A file that cannot be used, with the reason.

    Parameters
    ----------
    path : str or Path
        The file.
    reason : Reason
        The kind of trouble, for tables and counts.
    sentence : str
        What is wrong, as the continuation of the file's name.
    """

    def __init__(self, path: str | Path, reason: Reason, sentence: str) -> None:
        super().__init__(str(path), reason, sentence)  # the arguments again, so that pickle can rebuild it
        self.path = str(path)
        self.reason = reason
        self.sentence = sentence

    def __str__(self) -> str:
        return f"{self.path}: {self.sentence}"


def unreadable(path: str | Path, error: OSError) -> AudioError:
    """Make an `AudioError` of what the system says of a file.

    Parameters
    ----------
    path : str or Path
        The file.
    error : OSError
        What the system says.

    Returns
    -------
    audio_error : AudioError
        With `Reason.UNREADABLE` if the file is not there or may not be read, else with `Reason.IO_ERROR`.
    """
    reason = Reason.UNREADABLE if error.errno in _FILE_ERRORS else Reason.IO_ERROR
    return AudioError(path, reason, f"cannot be read: {error.strerror or error}")

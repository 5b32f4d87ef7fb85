"""What can be wrong with a file."""

from __future__ import annotations

import enum
from pathlib import Path


class Reason(str, enum.Enum):
    """Why a file is not used; there are no other reasons."""

    UNREADABLE = "unreadable"
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

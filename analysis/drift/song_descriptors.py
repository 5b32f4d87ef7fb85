"""One song, listened to: the same for training data and for new data."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class SongDescriptors:
    """What is measured of one song, or of one part of a song.

    Parameters
    ----------
    song : str
        Its identifier; parts of one song share it.
    path : str
        Where the file lies; empty for a song of the training data, whose records are read instead.
    sha256 : str
        Hash of the file's bytes; empty likewise.
    genre : str
        Empty where nobody knows.
    seconds : float
        Its length as decoded, in seconds.
    padded : bool
        Shorter than a fragment: silence was added.
    truncated : bool
        The file breaks off: used as far as it decodes.
    starts : np.ndarray [shape=(k,), dtype=float64]
        Where each fragment begins in the file, in seconds.
    values : np.ndarray [shape=(k, len(DESCRIPTORS)), dtype=float64]
        Each fragment's descriptors.
    """

    song: str
    path: str
    sha256: str
    genre: str
    seconds: float
    padded: bool
    truncated: bool
    starts: np.ndarray
    values: np.ndarray

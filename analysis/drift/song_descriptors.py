"""Descriptors of one song, the same for training data and new data."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class SongDescriptors:
    """Descriptors of the k fragments of a song, or of a part of a song.

    Parts of one song share the identifier `song`. `path` and `sha256` are empty for training songs, which are read from
    records, and `genre` is empty if unknown. `seconds` is the decoded length. `padded` says that the song is shorter
    than a fragment and silence was added, `truncated` that the file breaks off and is used as far as it decodes.
    `starts` [k] are the fragments' starts in the file, in seconds, and `values` [k, len(DESCRIPTORS)] their
    descriptors, both float64.
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

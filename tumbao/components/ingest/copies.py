"""Which songs are left out because they are the same recording as another."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import numpy as np

from tumbao.components.ingest.fingerprint import same_recordings

_WORD = np.dtype("<u2")


def to_text(words: np.ndarray) -> str:
    """Write a fingerprint as text.

    Parameters
    ----------
    words : np.ndarray [shape=(n,), dtype=uint16]
        See `fingerprint.fingerprint`.

    Returns
    -------
    text : str
        For JSON.
    """
    return base64.b64encode(words.astype(_WORD).tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """Read what `to_text` wrote.

    Parameters
    ----------
    text : str
        A fingerprint.

    Returns
    -------
    words : np.ndarray [shape=(n,), dtype=uint16]
        Its words.

    Examples
    --------
    >>> from_text(to_text(np.array([1, 65_535], np.uint16)))
    array([    1, 65535], dtype=uint16)
    """
    return np.frombuffer(base64.b64decode(text), _WORD).astype(np.uint16)


def find_copies(fingerprints: Mapping[str, np.ndarray], entries: Mapping[str, int]) -> dict[str, str]:
    """Choose which song of each recording is kept: the longest, since a copy may break off, else the first.

    Parameters
    ----------
    fingerprints : mapping of str to np.ndarray [shape=(n,), dtype=uint16]
        Song → fingerprint.
    entries : mapping of str to int
        Song → its place in the library's list.

    Returns
    -------
    copies : dict of str to str
        Each song to leave out → the song that is kept.
    """
    copies: dict[str, str] = {}
    for group in same_recordings(fingerprints):
        kept, *others = sorted(group, key=lambda song: (-len(fingerprints[song]), entries[song]))
        copies |= dict.fromkeys(others, kept)
    return copies


def same_as(kept: str) -> str:
    """Say why a copy is left out.

    Parameters
    ----------
    kept : str
        The song that is kept.

    Returns
    -------
    sentence : str
        As the continuation of the copy's name.
    """
    return f"the same recording as {kept}, in another encoding"

"""Which songs are left out because they are the same recording as another."""

from __future__ import annotations

import base64
import collections
from collections.abc import Iterable

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


def find_duplicates(parts: Iterable[tuple[str, int, np.ndarray]]) -> dict[str, str]:
    """Choose which song of each recording is kept: the longest, since a copy may break off, else the first.

    Parameters
    ----------
    parts : iterable of tuple of str, int and np.ndarray [shape=(n,), dtype=uint16]
        Song, place in the library's list and fingerprint of each part of a song; the parts of one song in their order.

    Returns
    -------
    copies : dict of str to str
        Each song to leave out → the song that is kept.
    """
    words: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    entries: dict[str, int] = {}
    for song, entry, fingerprint in parts:
        words[song].append(fingerprint)
        entries.setdefault(song, entry)
    fingerprints = {song: np.concatenate(pieces) for song, pieces in words.items()}
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

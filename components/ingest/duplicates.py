"""Find songs that are the same recording as another song."""

from __future__ import annotations

import base64
import collections
from collections.abc import Iterable

import numpy as np

from tumbao.components.ingest.fingerprint import same_recordings

_WORD = np.dtype("<u2")


def to_text(words: np.ndarray) -> str:
    """Encode a fingerprint, uint16 [n], as text for JSON, see `fingerprint.fingerprint`."""
    return base64.b64encode(words.astype(_WORD).tobytes()).decode()


def from_text(text: str) -> np.ndarray:
    """Decode the text of `to_text` to a fingerprint, uint16 [n]."""
    return np.frombuffer(base64.b64decode(text), _WORD).astype(np.uint16)


def find_duplicates(parts: Iterable[tuple[str, int, np.ndarray]]) -> dict[str, str]:
    """Return each duplicate → the song of the same recording that is used instead.

    The longest song is used, since others may be cut off; of several, the first in the library's list. `parts` holds
    song, position in the library's list and fingerprint (uint16 [n]) of each part of a song, in order within a song.
    """
    pieces: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    entries: dict[str, int] = {}
    for song, entry, fingerprint in parts:
        pieces[song].append(fingerprint)
        entries.setdefault(song, entry)
    fingerprints = {song: np.concatenate(own) for song, own in pieces.items()}
    duplicates: dict[str, str] = {}
    for group in same_recordings(fingerprints):
        original, *others = sorted(group, key=lambda song: (-len(fingerprints[song]), entries[song]))
        duplicates |= dict.fromkeys(others, original)
    return duplicates


def duplicate_detail(original: str) -> str:
    """Describe why a duplicate is rejected, as the continuation of its name."""
    return f"the same recording as {original}, in another encoding"

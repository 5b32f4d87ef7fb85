"""Decoders that do what the file says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tumbao.components.ingest.decoders import AudioSegment, read_unchanged
from tumbao.components.ingest.fragments import Fragment, SongSummary
from tumbao.schema.mel_spec import MelSpec


def read(part: AudioSegment, spec: MelSpec, sha256: str | None) -> Iterator[Fragment | SongSummary | None]:
    """Read a song; but a file that says so kills its decoder, or hangs it."""
    said = Path(part.path).read_bytes()[:5]
    if said == b"abort":
        os.abort()
    if said == b"sleep":
        time.sleep(60)
    yield from read_unchanged(part, spec, sha256)

"""Decoders that do what the file says."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from tumbao.components.ingest.decoders import Part, read_unchanged
from tumbao.components.ingest.fragments import Ending, Fragment
from tumbao.schema.mel_spec import MelSpec


def read(part: Part, spec: MelSpec, sha256: str | None) -> Iterator[Fragment | Ending | None]:
    """Read a song; but a file that says so kills its decoder, or hangs it."""
    said = Path(part.path).read_bytes()[:5]
    if said == b"abort":
        os.abort()
    if said == b"sleep":
        time.sleep(60)
    yield from read_unchanged(part, spec, sha256)

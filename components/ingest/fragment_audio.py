"""Decode the sound of fragments again from the songs' files; records hold only the mel images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment
from tumbao.components.ingest.manifest import table_rows
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec


def waveforms(manifest: str, fragments: Sequence[tuple[str, int]], spec: MelSpec) -> np.ndarray:
    """Decode fragments of songs to mono samples in [-1, 1], float32 [n, fragment_samples], in the order of `fragments`.

    `manifest` is a split's manifest of `library.write_manifests`; `fragments` holds song and fragment number as in the
    records. Raises AudioError if a song cannot be read or has changed since ingest.
    """
    rows = table_rows(manifest)
    with WorkerPool() as pool:
        return np.stack([_waveform(pool, rows, song, number, spec) for song, number in fragments])


def _waveform(pool: WorkerPool, rows: list[dict[str, str]], song: str, number: int, spec: MelSpec) -> np.ndarray:
    parts = [row for row in rows if row["song"] == song and int(row["first"]) <= number]
    row = max(parts, key=lambda row: int(row["first"]))  # the part that contains the fragment
    part = AudioSegment(row["path"], float(row["start"]), float(row["end"]) if row["end"] else None)
    for item in read_song(pool, part, spec, row["sha256"]):
        if isinstance(item, Fragment) and item.index == number - int(row["first"]):
            return item.samples
    raise ValueError(f"{row['path']}: expected a fragment number {number}, as its record says. Received: fewer")

"""The sound of fragments whose records hold only their images: decoded once more from the songs' files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragment
from tumbao.components.ingest.manifest import table_rows
from tumbao.components.ingest.worker_pool import WorkerPool
from tumbao.schema.mel_spec import MelSpec


def waveforms(manifest: str, fragments: Sequence[tuple[str, int]], spec: MelSpec) -> np.ndarray:
    """Decode fragments of songs.

    Parameters
    ----------
    manifest : str
        A split's manifest, of `catalog.write_manifests`.
    fragments : sequence of (str, int)
        Song and number of the fragment in it, as in the records.
    spec : MelSpec
        Gives the rate and the fragments' length.

    Returns
    -------
    waveforms : np.ndarray [shape=(n, fragment_samples), dtype=float32]
        Mono samples in [-1, 1], in the order of `fragments`.

    Raises
    ------
    AudioError
        If a song cannot be read, or is no longer what was ingested.
    """
    rows = table_rows(manifest)
    with WorkerPool() as pool:
        return np.stack([_waveform(pool, rows, song, number, spec) for song, number in fragments])


def _waveform(pool: WorkerPool, rows: list[dict[str, str]], song: str, number: int, spec: MelSpec) -> np.ndarray:
    parts = [row for row in rows if row["song"] == song and int(row["first"]) <= number]
    row = max(parts, key=lambda row: int(row["first"]))  # the part that the fragment lies in
    part = AudioSegment(row["path"], float(row["start"]), float(row["end"]) if row["end"] else None)
    for item in read_song(pool, part, spec, row["sha256"]):
        if isinstance(item, Fragment) and item.index == number - int(row["first"]):
            return item.samples
    raise ValueError(f"{row['path']}: expected a fragment number {number}, as its record says. Received: fewer")

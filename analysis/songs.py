"""Measuring of all songs of a library, and mel images of some of their fragments."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tumbao.components.ingest import progress
from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.decoders import AudioSegment, read_song
from tumbao.components.ingest.fragments import Fragments
from tumbao.components.ingest.library import Rejected, Song
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count
from tumbao.schema.mel_spec import MelSpec

Measured = TypeVar("Measured")


def measure_songs(
    songs: Sequence[Song], measure: Callable[[Song, WorkerPool], Measured]
) -> tuple[list[Measured], list[Rejected]]:
    """Measure songs in parallel; those for which `measure` raises AudioError are rejected."""

    def outcome(song: Song) -> Measured | Rejected:
        try:
            return measure(song, pool)
        except AudioError as error:
            return Rejected(song.song, song.path, error.reason.value, error.message, song.entry)
        finally:
            progress.advance("measure")

    progress.start("measure", len(songs))
    with WorkerPool() as pool, concurrent.futures.ThreadPoolExecutor(cpu_count()) as threads:
        outcomes = list(threads.map(outcome, songs))
    rejected = [one for one in outcomes if isinstance(one, Rejected)]
    return [one for one in outcomes if not isinstance(one, Rejected)], rejected


def render_fragments(parts: Iterable[tuple[AudioSegment, str]], spec: MelSpec) -> list[bytes | None]:
    """Render the first fragment of each part of a file, given with the file's SHA-256, as in a record.

    A file that has become unusable since then gives None.
    """
    from tumbao.components.ingest import mel, records  # imports TensorFlow

    parts = list(parts)
    progress.start("render", len(parts))
    found: list[bytes | None] = []
    with WorkerPool() as pool:
        for part, sha256 in parts:
            try:
                fragment, *_ = Fragments(read_song(pool, part, spec, sha256))
            except AudioError:
                found.append(None)
            else:
                found.append(records.to_png(mel.traced_levels(spec)(fragment.samples), mel.palette(spec)))
            progress.advance("render")
    return found

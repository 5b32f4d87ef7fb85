"""Decode songs, render their mel images and write them to the song cache, in worker processes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from tumbao.components.ingest import song_cache
from tumbao.components.ingest.audio_error import AudioError, Reason
from tumbao.components.ingest.decoders import AudioSegment, local_song, read_unchanged
from tumbao.components.ingest.fragments import Fragment
from tumbao.components.ingest.song_cache import SongCache, SongMetadata
from tumbao.components.ingest.worker_pool import WorkerPool, cpu_count
from tumbao.schema.mel_spec import MelSpec

T = TypeVar("T")

MAX_WORKERS = 8
"""Each worker takes 0.7 GB of memory."""


@dataclasses.dataclass(frozen=True)
class Rendered:
    """The archive of a song's images in the cache, or why the song is rejected."""

    archive: str = ""
    metadata: SongMetadata | None = None
    reason: str = ""
    detail: str = ""


class Renderer:
    """Render songs into a cache, `workers` at the same time."""

    def __init__(self, spec: MelSpec, cache: str) -> None:
        self.workers = min(cpu_count(), MAX_WORKERS)
        self._spec, self._cache = spec, SongCache(cache)
        self._pool = WorkerPool(initializer=f"{__name__}:trace_front_end", initargs=[spec])
        self._threads = ThreadPoolExecutor(self.workers, "render")

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, part: AudioSegment, sha256: str) -> Future[Rendered]:
        """Begin to render a song whose file has to have the given hash."""
        return self._threads.submit(render_song, self._pool, part, self._spec, sha256, self._cache)

    def close(self) -> None:
        """Cancel the songs that are not rendered yet, and stop the worker processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._pool.close()


def render_song(pool: WorkerPool, part: AudioSegment, spec: MelSpec, sha256: str, cache: SongCache) -> Rendered:
    """Render a song in a worker process, unless it is in the cache; an error of the song is part of the result."""
    archive = cache.path(part, sha256)
    try:
        metadata = song_cache.description(archive)
        if metadata is None:
            with local_song(part) as local:
                (metadata,) = pool.run(_render, local, spec, sha256, cache, archive)
    except AudioError as error:
        return Rendered(reason=error.reason.value, detail=error.message)
    return Rendered(archive, metadata)


def _render(
    part: AudioSegment, spec: MelSpec, sha256: str, cache: SongCache, archive: str
) -> Iterator[SongMetadata | None]:
    from tumbao.components.ingest import mel, records
    from tumbao.components.ingest.fingerprint import encode_fingerprint, fingerprint

    silent, padded = 0, False
    fingerprints: list[np.ndarray] = []
    silence = np.zeros(0, np.uint16)
    indexes: list[int] = []
    with cache.writing(archive) as song:
        for item in _reading(part, read_unchanged(part, spec, sha256)):
            if item is None:
                yield None
            elif not isinstance(item, Fragment):
                ending = item
            elif item.silent:
                silent += 1
                fingerprints.append(silence)
            else:
                levels = _front_end(spec)(item.samples)
                song_cache.add_image(song, item.index, records.to_png(levels, mel.palette(spec)))
                indexes.append(item.index)
                fingerprints.append(fingerprint(levels, spec, item.played))
                silence = np.zeros_like(fingerprints[-1])
                padded = item.padded
                yield None
        metadata = SongMetadata(
            seconds=ending.seconds,
            declared_seconds=ending.header.declared_seconds,
            truncated=ending.truncated,
            padded=padded,
            silent=silent,
            fragments=indexes,
            fingerprint=encode_fingerprint(np.concatenate(fingerprints)),
        )
        song_cache.add_description(song, metadata)
    yield metadata


def _reading(part: AudioSegment, items: Iterator[T]) -> Iterator[T]:
    """Raise an error of reading as `IO_ERROR`: the song could be read when it was scanned."""
    try:
        yield from items
    except AudioError as error:
        if error.reason is not Reason.UNREADABLE:
            raise
        raise AudioError(part.path, Reason.IO_ERROR, error.message) from error
    except OSError as error:
        raise AudioError(part.path, Reason.IO_ERROR, f"cannot be read: {error.strerror or error}") from error


def trace_front_end(spec: MelSpec) -> None:
    """Trace the front-end ahead of the first song of a worker process."""
    _front_end(spec)(np.zeros(spec.fragment_samples, np.float32))


@functools.lru_cache(maxsize=2)
def _front_end(spec: MelSpec) -> Callable[[np.ndarray], Any]:
    """Trace the front-end for one thread, since there is one process per CPU."""
    from tumbao.components.ingest import mel

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    # the meta optimizer would make it no faster, but 18 MB larger
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    return mel.traced_levels(spec)

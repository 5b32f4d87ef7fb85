"""Scan and read songs in worker processes."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Generator, Iterator
from pathlib import Path

from tumbao.components.ingest import fragments
from tumbao.components.ingest.audio_error import AudioError, Reason, unreadable
from tumbao.components.ingest.audio_file import probe
from tumbao.components.ingest.fragments import Fragment, SongSummary, fragment_count, require_length
from tumbao.components.ingest.paths import as_path, local_copy
from tumbao.components.ingest.tags import artist_and_title
from tumbao.components.ingest.waveform import AudioStream
from tumbao.components.ingest.worker_pool import (
    MEMORY_BYTES,
    WorkerCrashError,
    WorkerPool,
    WorkerTimeoutError,
)
from tumbao.schema.mel_spec import MelSpec

_HASHED_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True)
class AudioSegment:
    """A song's part of an audio file.

    `path` is a local path or a remote address. An `end_seconds` of None means the file's end.
    """

    path: str
    start_seconds: float = 0.0
    end_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class ScannedFile:
    """A song's properties before it is decoded.

    `sha256` is the hexadecimal hash of the file. `seconds` is the declared length; the song is decoded to measure it
    where the header declares none or too little. `artist` is empty where the file's tags name none.
    """

    sha256: str
    seconds: float
    artist: str


def scan_song(pool: WorkerPool, part: AudioSegment, spec: MelSpec) -> ScannedFile:
    """Hash a file and read its header and tags in a worker process.

    Raises AudioError if the song is not usable as far as that is known before decoding.
    """
    with local_song(part) as local:
        (scanned,) = pool.run(_scan, local, spec)
    return scanned


def read_song(
    pool: WorkerPool, part: AudioSegment, spec: MelSpec, sha256: str | None
) -> Generator[Fragment | SongSummary, None, None]:
    """Read a song fragment by fragment in a worker process, see `fragments.read`; the SongSummary is the last item.

    `sha256` is the hash that the file must have before and after; None accepts any content that stays the same. Raises
    AudioError if the song is not usable or has changed: discard the fragments that were yielded before.
    """
    with local_song(part) as local:
        before = _version(local)
        items: Generator[Fragment | SongSummary, None, None] = pool.run(read_unchanged, local, spec, sha256)
        yield from items
        _require_unchanged(local, before)  # two workers may have read it in succession


@contextlib.contextmanager
def local_song(part: AudioSegment) -> Iterator[AudioSegment]:
    """Provide a song as a local file, copied if remote and deleted afterwards, and convert errors to `AudioError`.

    Errors of the file, of the storage and of the worker processes inside the `with` block are converted.
    """
    try:
        with local_copy(as_path(part.path)) as local:
            yield dataclasses.replace(part, path=str(local))
    except AudioError as error:
        raise AudioError(part.path, error.reason, error.message) from error
    except OSError as error:
        raise unreadable(part.path, error) from error
    except WorkerTimeoutError as error:
        raise AudioError(part.path, Reason.TIMED_OUT, f"hangs its decoder, which {error}") from error
    except WorkerCrashError as error:
        message = f"ended {error.crashes} fresh decoder processes in succession: the last {error}"
        raise AudioError(part.path, Reason.CRASHED, message) from error
    except MemoryError as error:
        message = f"is damaged: to decode it takes more than {MEMORY_BYTES / 1e9:.0f} GB of memory"
        raise AudioError(part.path, Reason.DAMAGED, message) from error


def _scan(part: AudioSegment, spec: MelSpec) -> Iterator[ScannedFile | None]:
    path = Path(part.path)
    seconds = _declared_length(part, probe(path).declared_seconds)
    if not fragment_count(seconds, spec):  # only decoding shows whether it is too short
        sound = AudioStream(path, spec.sample_rate_hz, part.start_seconds, part.end_seconds)
        for _ in sound:
            yield None
        require_length(sound, spec, path)
        seconds = sound.samples / spec.sample_rate_hz
    sha256 = yield from _hash(path)
    yield ScannedFile(sha256, seconds, artist_and_title(path)[0])


def _declared_length(part: AudioSegment, declared_seconds: float | None) -> float:
    """Return the song's length by the file's header; 0 if none is declared or the song ends after it."""
    if declared_seconds is None or (part.end_seconds or 0.0) > declared_seconds:
        return 0.0
    return (declared_seconds if part.end_seconds is None else part.end_seconds) - part.start_seconds


def _hash(path: Path) -> Generator[None, None, str]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_BYTES):
            digest.update(block)
            yield None  # keeps the worker's timeout from being reached: hashing on a slow disk takes long
    return digest.hexdigest()


def read_unchanged(part: AudioSegment, spec: MelSpec, sha256: str | None) -> Iterator[Fragment | SongSummary | None]:
    """Read a song of a local file that must not change, as `fragments.read_with_heartbeat` does.

    `sha256` is the hash that the file must have; None accepts any. Raises AudioError if the song is not usable or has
    changed.
    """
    path, before = Path(part.path), _version(part)
    if sha256 is not None and (yield from _hash(path)) != sha256:
        raise AudioError(path, Reason.CHANGED, "has changed since the library was scanned: run again")
    yield from fragments.read_with_heartbeat(path, spec, part.start_seconds, part.end_seconds)
    _require_unchanged(part, before)


def _version(part: AudioSegment) -> tuple[int, int, int]:
    status = Path(part.path).stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _require_unchanged(part: AudioSegment, before: tuple[int, int, int]) -> None:
    if _version(part) != before:
        raise AudioError(part.path, Reason.CHANGED, "changed while it was read: run again")

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
from tumbao.components.ingest.fragments import Ending, Fragment, fragment_count, require_length
from tumbao.components.ingest.places import local_copy, place
from tumbao.components.ingest.tags import artist_and_title
from tumbao.components.ingest.waveform import Sound
from tumbao.components.ingest.worker_pool import (
    MAX_CRASHES,
    MEMORY_BYTES,
    WorkerCrashError,
    WorkerPool,
    WorkerTimeoutError,
)
from tumbao.schema.mel_spec import MelSpec

_HASHED_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True)
class Part:
    """The part of a file that is a song.

    Parameters
    ----------
    path : str
        The file, or its address.
    start_seconds : float >= 0
        Where the song begins in the file.
    end_seconds : float or None
        Where it ends; None means at the file's end.
    """

    path: str
    start_seconds: float = 0.0
    end_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Looked:
    """What is known of a song before it is decoded.

    Parameters
    ----------
    sha256 : str
        Hash of the file's bytes, hexadecimal.
    seconds : float
        Length of the song as the file's header declares it; decoded where the header does not tell or tells too little.
    artist : str
        From the file's tags; empty where they name none.
    """

    sha256: str
    seconds: float
    artist: str


def scan_song(pool: WorkerPool, part: Part, spec: MelSpec) -> Looked:
    """Hash a file and read its header and its tags, in a worker process.

    Parameters
    ----------
    pool : WorkerPool
        Runs it.
    part : Part
        The song.
    spec : MelSpec
        Says how long a fragment is.

    Returns
    -------
    looked : Looked
        What was found.

    Raises
    ------
    AudioError
        If the song cannot be used, as far as is known before it is decoded.
    """
    with local_song(part) as local:
        (looked,) = pool.run(_look, local, spec)
    return looked


def read_song(
    pool: WorkerPool, part: Part, spec: MelSpec, sha256: str | None
) -> Generator[Fragment | Ending, None, None]:
    """Read a song fragment by fragment in a worker process, see `fragments.read`.

    Parameters
    ----------
    pool : WorkerPool
        Runs it.
    part : Part
        The song.
    spec : MelSpec
        Gives the rate and the fragments' length.
    sha256 : str or None
        Hash that the file's bytes must have, before and after; None for whatever they are, if they stay the same.

    Yields
    ------
    item : Fragment or Ending
        The ending is the last item.

    Raises
    ------
    AudioError
        If the song cannot be used, or has changed: then what was given before is void.
    """
    with local_song(part) as local:
        before = _version(local)
        items: Generator[Fragment | Ending, None, None] = pool.run(read_unchanged, local, spec, sha256)
        yield from items
        _require_unchanged(local, before)  # two workers may have read it, one after the other


@contextlib.contextmanager
def local_song(part: Part) -> Iterator[Part]:
    """Provide a song as a local file, and convert errors of reading it to `AudioError`.

    Parameters
    ----------
    part : Part
        The song.

    Yields
    ------
    local : Part
        The same, or in a copy that is deleted afterwards.

    Raises
    ------
    AudioError
        If what is done with it fails through the file or through the storage that it lies in.
    """
    try:
        with local_copy(place(part.path)) as local:
            yield dataclasses.replace(part, path=str(local))
    except AudioError as error:
        raise AudioError(part.path, error.reason, error.sentence) from error
    except OSError as error:
        raise unreadable(part.path, error) from error
    except WorkerTimeoutError as error:
        raise AudioError(part.path, Reason.TIMED_OUT, f"hangs its decoder, which {error}") from error
    except WorkerCrashError as error:
        sentence = f"ended {MAX_CRASHES} fresh decoder processes in succession: the last {error}"
        raise AudioError(part.path, Reason.CRASHED, sentence) from error
    except MemoryError as error:
        sentence = f"is damaged: to decode it takes more than {MEMORY_BYTES / 1e9:.0f} GB of memory"
        raise AudioError(part.path, Reason.DAMAGED, sentence) from error


def _look(part: Part, spec: MelSpec) -> Iterator[Looked | None]:
    path = Path(part.path)
    seconds = _declared_length(part, probe(path).declared_seconds)
    if not fragment_count(seconds, spec):  # only the sound itself says that it is too short
        sound = Sound(path, spec.sample_rate_hz, part.start_seconds, part.end_seconds)
        for _ in sound:
            yield None
        require_length(sound, spec, path)
        seconds = sound.samples / spec.sample_rate_hz
    sha256 = yield from _hash(path)
    yield Looked(sha256, seconds, artist_and_title(path)[0])


def _declared_length(part: Part, declared_seconds: float | None) -> float:
    """Return the length that the header declares for a song; 0 if it declares none, or an end before the song's."""
    if declared_seconds is None or (part.end_seconds or 0.0) > declared_seconds:
        return 0.0
    return (declared_seconds if part.end_seconds is None else part.end_seconds) - part.start_seconds


def _hash(path: Path) -> Generator[None, None, str]:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASHED_BYTES):
            digest.update(block)
            yield None  # a sign of life: hashing a large file on a slow disk takes long
    return digest.hexdigest()


def read_unchanged(part: Part, spec: MelSpec, sha256: str | None) -> Iterator[Fragment | Ending | None]:
    """Read a song of a file that must not change.

    Parameters
    ----------
    part : Part
        The song, in a file of this machine.
    spec : MelSpec
        Gives the rate and the fragments' length.
    sha256 : str or None
        Hash that the file's bytes must have; None for whichever they have.

    Yields
    ------
    item : Fragment or Ending or None
        As of `fragments.read`; None is a sign of life.

    Raises
    ------
    AudioError
        If the song cannot be used, or has changed.
    """
    path, before = Path(part.path), _version(part)
    if sha256 is not None and (yield from _hash(path)) != sha256:
        raise AudioError(path, Reason.CHANGED, "has changed since the library was looked through: run again")
    yield from fragments.read_with_signs(path, spec, part.start_seconds, part.end_seconds)
    _require_unchanged(part, before)


def _version(part: Part) -> tuple[int, int, int]:
    status = Path(part.path).stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _require_unchanged(part: Part, before: tuple[int, int, int]) -> None:
    if _version(part) != before:
        raise AudioError(part.path, Reason.CHANGED, "changed while it was read: run again")

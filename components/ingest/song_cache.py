"""The cache of rendered songs: after an interruption, or when the library has grown, only new songs are decoded.

A song is a ZIP file of its mel images, which any viewer shows, and `song.json` with its metadata. It gets its own name
only when it is complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import shutil
import tempfile
import time
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import tensorflow as tf

from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.paths import is_remote
from tumbao.schema.errors import UnavailableError

_DESCRIPTION = "song.json"
_UNFINISHED = ".unfinished"
_LOCK_FILE = "lock"
_DAY_SECONDS = 86_400


@dataclasses.dataclass(frozen=True)
class SongMetadata:
    """Metadata of a song after rendering.

    `silent` is the number of silent fragments, which are left out; `fragments` are the numbers of the others.
    """

    seconds: float
    declared_seconds: float | None
    truncated: bool
    padded: bool
    silent: int
    fragments: Sequence[int]
    fingerprint: str


_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    tf.errors.OpError,
)
"""Exceptions of reading an incomplete file; RuntimeError where a changed bit marks it as encrypted."""


class SongCacheError(UnavailableError):
    """The song cache cannot be written or read; the song itself is valid."""


class SongCache:
    """A folder of rendered songs, local or in a bucket; all of them come from the same code and the same `MelSpec`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def path(self, part: AudioSegment, sha256: str) -> str:
        """Return the path of a song, whether or not it exists; `sha256` is the file's hash, hexadecimal."""
        end = "" if part.end_seconds is None else part.end_seconds
        return f"{self._folder}/{sha256[:2]}/{sha256}_{part.start_seconds}_{end}.zip"

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[zipfile.ZipFile]:
        """Write a song with `add_image` and, once, `add_description`; it exists after the end of the context."""
        unfinished = f"{path}.{uuid.uuid4().hex}{_UNFINISHED}"
        try:
            with tempfile.TemporaryFile() as file:
                with zipfile.ZipFile(file, "w") as song:
                    yield song
                file.seek(0)
                _copy(file, unfinished, path)
        except OSError as error:
            raise SongCacheError(f"The song cache cannot be written: {path}: {error}") from error

    def sweep(self) -> None:
        """Delete unfinished files of killed runs, unless another process writes; call it under the run's lock."""
        remote = is_remote(self._folder)  # buckets have no locks: age decides
        with contextlib.nullcontext(True) if remote else self._locked(fcntl.LOCK_EX) as alone:
            for unfinished in tf.io.gfile.glob(f"{self._folder}/*/*{_UNFINISHED}") if alone else ():
                if not remote or time.time() - tf.io.gfile.stat(unfinished).mtime_nsec / 1e9 > _DAY_SECONDS:
                    tf.io.gfile.remove(unfinished)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `sweep` from deleting files that this process, or one that it starts, writes in the context."""
        if is_remote(self._folder):
            yield
            return
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        with self._locked(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[bool]:
        """Try to take the lock and yield whether it was taken; the system releases it when the process ends."""
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(Path(self._folder, _LOCK_FILE).open("w"))
                fcntl.flock(file, kind | (fcntl.LOCK_NB if kind == fcntl.LOCK_EX else 0))
            except OSError:  # held, no such folder, or a file system without locks
                yield False
            else:
                yield True


def _copy(file: IO[bytes], unfinished: str, path: str) -> None:
    try:
        tf.io.gfile.makedirs(path.rpartition("/")[0])
        with tf.io.gfile.GFile(unfinished, "wb") as target:
            shutil.copyfileobj(file, target)
        tf.io.gfile.rename(unfinished, path, overwrite=True)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def add_image(song: zipfile.ZipFile, index: int, png: bytes) -> None:
    """Add the mel image of a fragment to a song."""
    song.writestr(f"{index:05}.png", png)


def add_description(song: zipfile.ZipFile, metadata: SongMetadata) -> None:
    """Add the metadata to a song."""
    song.writestr(_DESCRIPTION, json.dumps(dataclasses.asdict(metadata)))


def description(path: str) -> SongMetadata | None:
    """Read the metadata of a song; None if the song does not exist or is incomplete."""
    if not tf.io.gfile.exists(path):
        return None
    try:
        with _open(path) as song:
            found = SongMetadata(**json.loads(song.read(_DESCRIPTION)))
            return found if len(song.namelist()) == 1 + len(found.fragments) else None
    except _DAMAGED:
        return None


def images(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the mel image (PNG) of each fragment of an existing song."""
    try:
        with _open(path) as song:
            for name in song.namelist():
                if name != _DESCRIPTION:
                    yield int(name.partition(".")[0]), song.read(name)
    except _DAMAGED as error:
        raise SongCacheError(f"The song cache is damaged: {path}: {error}. Delete this file and run again.") from error


@contextlib.contextmanager
def _open(path: str) -> Iterator[zipfile.ZipFile]:
    with tf.io.gfile.GFile(path, "rb") as file, zipfile.ZipFile(file) as song:
        yield song

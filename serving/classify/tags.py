"""Write genres into the tags of files without risk for the files.

The tags are written into a copy in the same folder. The copy replaces the original only if its audio decodes to the
same samples, its genre can be read and all its other tags are unchanged. The replacement is atomic and keeps owner,
permissions and extended attributes. The modification time is new, so that backups notice the change. Until then the
original is not touched. A killed process leaves a hidden copy, which is deleted when the file is tagged again.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from tumbao.components.ingest.audio_error import AudioError
from tumbao.components.ingest.audio_file import DecoderError, open_audio, probe
from tumbao.components.ingest.worker_pool import WorkerCrashError, WorkerPool, WorkerTimeoutError
from tumbao.schema.genres import genre_key

_BLOCKS_BETWEEN_SIGNS = 256


class Outcome(str, enum.Enum):
    """Result of tagging a file."""

    WRITTEN = "written"
    SAME = "same"
    KEPT = "kept"
    IMPOSSIBLE = "cannot be tagged"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Tagging:
    """Result of tagging a file.

    The outcome is `SAME` if the genre was already there and `KEPT` if there was another one. A different spelling is
    the same genre; it is replaced if genres are overwritten. `sentence` is the reason why nothing was written, as the
    continuation of the file's name, else empty.
    """

    outcome: Outcome
    sentence: str = ""


class Tagger:
    """Tags files in worker processes, so that a file that crashes its parser is only not tagged.

    With `overwrite`, existing genres are replaced.
    """

    def __init__(self, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._pool = WorkerPool()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def write(self, path: str | Path, genre: str) -> Tagging:
        """Write a genre, as the model names it, into a file's tags; it is capitalised there. Thread-safe.

        Symbolic links are followed. A file that is not tagged stays unchanged byte for byte. Raises `WorkerStartError`
        if no worker process can be started.
        """
        try:
            (tagging,) = self._pool.run(write_genre, path, genre[:1].upper() + genre[1:], self._overwrite)
        except (WorkerCrashError, WorkerTimeoutError, MemoryError) as error:
            return Tagging(Outcome.FAILED, f"was not tagged: its parser gave up ({error or 'out of memory'})")
        return tagging


def write_genre(path: str | Path, genre: str, overwrite: bool) -> Iterator[Tagging | None]:
    """Write a genre into a file's tags in a worker process, for `Tagger`.

    Yields None from time to time to show that it is alive, and finally the result.
    """
    from tumbao.serving.classify.genre_tag import NoTagsError, TaggedFile

    original = Path(os.path.realpath(path))
    try:
        _require_writable(original)
        tags = TaggedFile(original)
        spellings = set(map(genre_key, tags.genres))
        if tags.genres == [genre] or (spellings == {genre_key(genre)} and not overwrite):
            yield Tagging(Outcome.SAME)
        elif tags.genres and not overwrite:
            yield Tagging(Outcome.KEPT, f"has the genre {', '.join(tags.genres)} in its tags")
        else:
            yield from _replace(original, genre, tags.others())
            yield Tagging(Outcome.WRITTEN)
    except NoTagsError:
        sentence = f"cannot be tagged: its format ({_format(original)}) has no tags, or none that can be written"
        yield Tagging(Outcome.IMPOSSIBLE, sentence)
    except OSError as error:
        yield Tagging(Outcome.FAILED, f"was not tagged: {error.strerror or error}")
    except Exception as error:  # mutagen's parsers raise errors of every kind for broken files
        yield Tagging(Outcome.FAILED, f"was not tagged: {error}")


def _format(path: Path) -> str:
    try:
        return probe(path).audio_format
    except AudioError:
        return "unknown"


def _require_writable(original: Path) -> None:
    status = original.stat()
    if not status.st_mode & stat.S_IWUSR or not os.access(original, os.W_OK):
        raise OSError("it is read-only")
    if status.st_nlink > 1:
        raise OSError(f"it has {status.st_nlink} names (hard links), and the others would keep the old tags")


def _replace(original: Path, genre: str, others: object) -> Iterator[None]:
    from tumbao.serving.classify.genre_tag import TaggedFile

    prefix = f".tumbao-{hashlib.sha256(os.fsencode(original.name)).hexdigest()[:12]}-"
    for left_behind in original.parent.glob(f"{prefix}*"):
        left_behind.unlink()
    before = original.stat()
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=original.parent)
    copy = Path(name)
    try:
        with os.fdopen(descriptor, "r+b") as file:
            shutil.copyfile(original, copy)
            yield None
            TaggedFile(copy).save(genre)
            tags = TaggedFile(copy)
            if tags.genres != [genre] or tags.others() != others:
                raise ValueError("its other tags would not have stayed as they are")
            if (yield from _sound(original)) != (yield from _sound(copy)):
                raise ValueError("its sound would not have stayed as it is")
            os.chown(copy, before.st_uid, before.st_gid)
            shutil.copystat(original, copy)
            os.utime(copy)
            os.fsync(file.fileno())
        after = original.stat()
        if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
            raise ValueError("it changed meanwhile")
        copy.replace(original)
    finally:
        copy.unlink(missing_ok=True)
    _sync_folder(original.parent)


def _sound(path: Path) -> Generator[None, None, bytes]:
    """Hash the decoded audio of a file, and whether the file is truncated."""
    digest = hashlib.sha256()
    with open_audio(path) as file:
        digest.update(repr((file.header.sample_rate_hz, file.header.channels)).encode())
        try:
            for number, block in enumerate(file.blocks()):
                digest.update(block.samples.tobytes())
                if number % _BLOCKS_BETWEEN_SIGNS == 0:
                    yield None
        except DecoderError:
            digest.update(b"fails")
        digest.update(b"breaks off" * file.truncated)
    return digest.digest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Writes genres into files' tags and leaves the files whole, whatever happens.

The tags are written into a copy in the same folder. Only if the copy's sound decodes to the same samples, its genre
can be read and all its other tags are those of the original does it take the original's place, in one step and with
its owner, permissions and extended attributes. Its time of modification is new, since it was modified: a backup has to
notice. Until then nothing touches the original. What a killed process leaves behind is a hidden copy, which goes when
the file is tagged again.
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
from tumbao.schema.genre_names import genre_key

_BLOCKS_BETWEEN_SIGNS = 256


class Outcome(str, enum.Enum):
    """What became of a tag; there is nothing else."""

    WRITTEN = "written"
    SAME = "same"
    KEPT = "kept"
    IMPOSSIBLE = "cannot be tagged"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Tagging:
    """What became of a file's genre tag.

    Parameters
    ----------
    outcome : Outcome
        `SAME` if the genre was there already, `KEPT` if there was another. Another spelling is the same genre, and is
        replaced where genres are overwritten.
    sentence : str
        Why nothing was written, as the continuation of the file's name; else empty.
    """

    outcome: Outcome
    sentence: str = ""


class Tagger:
    """Tags files in processes of their own: a file that kills its parser is a file that is not tagged.

    Parameters
    ----------
    overwrite : bool
        Whether a genre that is there already gives way.
    """

    def __init__(self, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._pool = WorkerPool()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def write(self, path: str | Path, genre: str) -> Tagging:
        """Write a genre into a file's tags; may be called from several threads at the same time.

        Parameters
        ----------
        path : str or Path
            The file. A link stays one: the file that it leads to is tagged.
        genre : str
            As the model calls it; in the tags it begins with a capital.

        Returns
        -------
        tagging : Tagging
            What was done. A file that was not tagged is byte for byte what it was.

        Raises
        ------
        WorkerStartError
            If no worker process can be started.
        """
        try:
            (tagging,) = self._pool.run(write_genre, path, genre[:1].upper() + genre[1:], self._overwrite)
        except (WorkerCrashError, WorkerTimeoutError, MemoryError) as error:
            return Tagging(Outcome.FAILED, f"was not tagged: its parser gave up ({error or 'out of memory'})")
        return tagging


def write_genre(path: str | Path, genre: str, overwrite: bool) -> Iterator[Tagging | None]:
    """Write a genre into a file's tags, for `Tagger`.

    Parameters
    ----------
    path : str or Path
        The file.
    genre : str
        As it is to stand there.
    overwrite : bool
        Whether a genre that is there already gives way.

    Yields
    ------
    tagging : Tagging or None
        Signs of life, and at last what became of it.
    """
    from tumbao.serving.genre_tag import NoTagsError, TaggedFile

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
    except Exception as error:  # mutagen's parsers meet broken files with errors of every kind
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
    from tumbao.serving.genre_tag import TaggedFile

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
    """Hash what a file decodes to, and whether it breaks off."""
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

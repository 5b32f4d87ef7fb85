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
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import mutagen
from mutagen._vorbis import VComment
from mutagen.apev2 import APEv2
from mutagen.asf import ASFTags
from mutagen.id3 import ID3, TCON, Frame
from mutagen.mp4 import MP4Tags

from tumbao.components.ingest.audio_file import DecoderError, open_audio
from tumbao.components.ingest.tags import content_of, read_chunks, read_info, text_of
from tumbao.components.ingest.worker_pool import WorkerCrashError, WorkerPool, WorkerTimeoutError
from tumbao.schema.genres import genre_key

_GENRE_KEYS = {VComment: "genre", MP4Tags: "\xa9gen", ASFTags: "WM/Genre", APEv2: "Genre", ID3: "TCON"}
_NO_GENRE = "Other"  # of ID3v1, which has a number in every file


class NoTagsError(Exception):
    """The format has no tags, or none that can be written."""


class TaggedFile:
    """A file and its tags; ID3 tags keep their version (2.2 becomes 2.4), and an ID3v1 block is kept up to date.

    Raises `NoTagsError` if the format has no writable tags.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = mutagen.File(path)
        if self._file is None:
            raise NoTagsError
        if self._file.tags is None:
            try:
                self._file.add_tags()
            except (mutagen.MutagenError, NotImplementedError) as error:
                raise NoTagsError from error
        elif _version(self._file.tags) == 3:
            self._file = type(self._file)(path, translate=False)  # else years and lists are converted to 2.4
        self._tags = self._file.tags
        self._key = next((key for kind, key in _GENRE_KEYS.items() if isinstance(self._tags, kind)), "")
        if not self._key:
            raise NoTagsError
        self._info_genres = list(_info_genres(Path(path)))

    @property
    def genres(self) -> list[str]:
        """All genres in the tags, without duplicates."""
        value = self._tags.get(self._key) or []
        texts = value.genres if isinstance(value, TCON) else value if isinstance(value, list) else [value]
        parts = [part.strip() for text in texts for part in str(text).split("\0")]
        return [text for text in dict.fromkeys([*parts, *self._info_genres]) if text not in ("", _NO_GENRE)]

    def save(self, genre: str) -> None:
        """Set the genre; raise ValueError if an INFO list has another one."""
        if set(self._info_genres) - {genre}:
            raise ValueError("its INFO list has another genre, which is not replaced")
        if isinstance(self._tags, ID3):
            self._tags.setall("TCON", [TCON(encoding=3, text=[genre])])
            self._file.save(v2_version=_version(self._tags), v23_sep=None)
        else:
            self._tags[self._key] = [genre]
            self._file.save()

    def others(self) -> object:
        """Return everything except the genre, to be compared with that of another file."""
        pairs = self._tags if isinstance(self._tags, list) else self._tags.items()
        return [
            sorted((key, _content(value)) for key, value in pairs if key.lower() != self._key.lower()),
            [picture.write() for picture in getattr(self._file, "pictures", ())],
            getattr(self._tags, "unknown_frames", ()),
        ]


def _version(tags: Any) -> int:
    """Return the version in which ID3 tags are saved: 3 or 4."""
    return 3 if isinstance(tags, ID3) and tags.version[:2] == (2, 3) else 4


def _info_genres(path: Path) -> Iterator[str]:
    """Read the genres in the INFO list of a wav, which mutagen does not read."""
    with path.open("rb") as file:
        for chunk in read_chunks(file):
            if chunk.name == b"LIST":
                yield from (text_of(value) for name, value in read_info(content_of(file, chunk)) if name == b"IGNR")


def _content(value: object) -> str:
    """Describe a tag without its text encoding, which changes if a tag version does not support it."""
    if isinstance(value, Frame):
        return repr(sorted((name, part) for name, part in vars(value).items() if name != "encoding"))
    return repr(value)


class Outcome(str, enum.Enum):
    """Result of tagging a file."""

    WRITTEN = "written"
    SAME = "same"
    KEPT = "kept"
    IMPOSSIBLE = "cannot be tagged"
    FAILED = "failed"


@dataclasses.dataclass(frozen=True)
class Tagging:
    """Result of tagging a file; `sentence`, which continues the file's name, is why nothing was written."""

    outcome: Outcome
    sentence: str = ""


class Tagger:
    """Tags files in worker processes, so that a file that crashes its parser is only not tagged."""

    def __init__(self, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._pool = WorkerPool()

    def __enter__(self) -> Tagger:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def write(self, path: str | Path, genre: str) -> Tagging:
        """Write a genre, as the model names it, into a file's tags; it is capitalised there. Thread-safe."""
        try:
            (tagging,) = self._pool.run(write_genre, path, genre[:1].upper() + genre[1:], self._overwrite)
        except (WorkerCrashError, WorkerTimeoutError, MemoryError) as error:
            return Tagging(Outcome.FAILED, f"was not tagged: its parser failed ({error or 'out of memory'})")
        return tagging


def write_genre(path: str | Path, genre: str, overwrite: bool) -> Iterator[Tagging | None]:
    """Write a genre into a file's tags in a worker process; yields None as a sign of life, and finally the result."""
    original = Path(os.path.realpath(path))
    try:
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
        yield Tagging(Outcome.IMPOSSIBLE, "cannot be tagged: its format has no tags, or none that can be written")
    except OSError as error:
        yield Tagging(Outcome.FAILED, f"was not tagged: {error.strerror or error}")
    except Exception as error:  # mutagen's parsers raise errors of every kind for broken files
        yield Tagging(Outcome.FAILED, f"was not tagged: {error}")


def _replace(original: Path, genre: str, others: object) -> Iterator[None]:
    before = original.stat()
    if not before.st_mode & stat.S_IWUSR or not os.access(original, os.W_OK):
        raise OSError("it is read-only")
    if before.st_nlink > 1:
        raise OSError(f"it has {before.st_nlink} names (hard links), and the others would keep the old tags")
    prefix = f".tumbao-{hashlib.sha256(os.fsencode(original.name)).hexdigest()[:12]}-"
    for left_behind in original.parent.glob(f"{prefix}*"):
        left_behind.unlink()
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=original.parent)
    copy = Path(name)
    try:
        with os.fdopen(descriptor, "r+b") as file:
            shutil.copyfile(original, copy)
            yield None
            TaggedFile(copy).save(genre)
            tags = TaggedFile(copy)
            if tags.genres != [genre] or tags.others() != others:
                raise ValueError("its other tags would have changed")
            if (yield from _audio_digest(original)) != (yield from _audio_digest(copy)):
                raise ValueError("its audio would have changed")
            if sys.platform != "win32":
                os.chown(copy, before.st_uid, before.st_gid)
            shutil.copystat(original, copy)
            os.utime(copy)
            os.fsync(file.fileno())
        after = original.stat()
        if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
            raise ValueError("the file changed meanwhile")
        copy.replace(original)
    finally:
        copy.unlink(missing_ok=True)


def _audio_digest(path: Path) -> Generator[None, None, bytes]:
    """Hash the decoded audio of a file, and whether the file is truncated."""
    digest = hashlib.sha256()
    with open_audio(path) as file:
        digest.update(repr((file.header.sample_rate_hz, file.header.channels)).encode())
        try:
            for number, block in enumerate(file.blocks()):
                digest.update(block.samples.tobytes())
                if number % 256 == 0:
                    yield None
        except DecoderError:
            digest.update(b"fails")
        digest.update(b"breaks off" * file.truncated)
    return digest.digest()

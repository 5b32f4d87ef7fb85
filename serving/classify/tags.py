"""Write genres into the tags of files without risk for the files.

The tags are written into a copy in the same folder. The copy replaces the original only if its audio decodes to the
same samples, its genre can be read and all its other tags are unchanged. The replacement is atomic and keeps owner,
permissions and extended attributes. The modification time is new, so that backups notice the change. Until then the
original is not touched. A killed process leaves a hidden copy, which is deleted when the file is tagged again.

A file can have several tags: an mp3 an ID3v2, an APEv2 and an ID3v1 tag; a flac an ID3 tag before its own comments; a
wav an ID3 chunk and an INFO list. All are read, and the genre is replaced in each that has one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import mutagen
from mutagen._vorbis import VComment
from mutagen.apev2 import APENoHeaderError, APEv2, _APEv2Data
from mutagen.asf import ASFTags
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TCON, ID3FileType, ID3NoHeaderError
from mutagen.mp4 import MP4Tags

from tumbao.components.ingest.audio_file import DecoderError, open_audio
from tumbao.components.ingest.tags import content_of, read_chunks, read_info, text_of, write_chunk, write_info
from tumbao.components.ingest.worker_pool import WorkerCrashError, WorkerPool, WorkerTimeoutError
from tumbao.schema.genres import genre_key

_KEYS = {VComment: "genre", MP4Tags: "\xa9gen", ASFTags: "WM/Genre", APEv2: "Genre", ID3: "TCON"}
_OTHER_KEYS = ("txxx:genre", "----:com.apple.itunes:genre", "wm/genreid", "genre")  # other keys of a genre
_PADDING_BLOCK, _COMMENT_BLOCK = 1, 4  # of a flac: padding may change; comments are compared by value
_V1_BYTES, _V1_OTHER, _V1_NO_GENRE = 128, 12, 255
_ID3_HEADER_BYTES = 10


class NoTagsError(Exception):
    """The format has no tags, or none that can be written."""


class TaggedFile:
    """A file and its tags; the content of the file decides which tags it has.

    ID3 tags keep their version (2.2 becomes 2.4), and in an ID3v1 block at the end of a file only the genre changes.
    Raises `NoTagsError` if the format has no writable tags, and `ValueError` if the tags could not be read again.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._chunks: list[tuple[bytes, str]] = []
        self._info: list[list[tuple[bytes, bytes]]] = []
        with self._path.open("rb") as file:
            chunks = read_chunks(file)
            self._is_riff = bool(chunks)
            if chunks:
                self._tags: list[Any] = [self._read_riff(file, chunks)]
                return
            front = _id3_bytes(file)
            file.seek(front)
            is_flac = file.read(4) == b"fLaC"
        self._file = FLAC(path) if is_flac else mutagen.File(path)
        if self._file is not None and isinstance(self._file.tags, ID3) and self._file.tags.version[:2] == (2, 3):
            self._file = type(self._file)(path, translate=False)  # else years and lists are converted to 2.4
        if self._file is not None and self._file.tags is None:
            try:
                self._file.add_tags()
            except (mutagen.MutagenError, NotImplementedError) as error:
                raise NoTagsError from error
        self._tags = [self._file.tags if self._file is not None else None]
        if not _key(self._tags[0]):
            raise NoTagsError
        if not self._is_stream:
            return
        if front and not isinstance(self._tags[0], ID3):
            self._tags.append(_id3(path))
        if not isinstance(self._tags[0], APEv2):
            with contextlib.suppress(APENoHeaderError):
                self._tags.append(APEv2(path))

    @property
    def _is_stream(self) -> bool:
        """Whether there may be tags of other kinds before and after the audio."""
        return isinstance(getattr(self, "_file", None), ID3FileType | FLAC) or isinstance(self._tags[0], APEv2)

    def _read_riff(self, file: Any, chunks: Iterable[Any]) -> ID3:
        tags = None
        for chunk in chunks:
            if chunk.name.lower() == b"id3 ":
                if tags is not None:
                    raise ValueError("it has two ID3 tags")
                tags = _id3(io.BytesIO(content_of(file, chunk)))
            elif chunk.name == b"LIST" and (entries := read_info(content_of(file, chunk))):
                self._info.append(entries)
            elif chunk.name not in (b"data", b"ds64"):  # the audio is compared after decoding
                self._chunks.append((chunk.name, hashlib.sha256(content_of(file, chunk)).hexdigest()))
        return ID3() if tags is None else tags

    @property
    def genres(self) -> list[str]:
        """All genres in the tags, without duplicates."""
        found = [text for tags in self._tags for text in _genres(tags)]
        found += [text_of(value) for entries in self._info for name, value in entries if name == b"IGNR"]
        number = end[-1] if (end := self._v1()) else _V1_NO_GENRE
        if number != _V1_OTHER and number < len(TCON.GENRES):
            found.append(TCON.GENRES[number])
        return list(dict.fromkeys(filter(None, found)))

    def save(self, genre: str) -> None:
        """Set the genre in the format's standard tag and in all others that have a genre."""
        if self._is_riff:
            self._save_riff(genre)
            return
        end = self._v1()
        for tags in self._tags:
            if tags is not self._tags[0] and not _genres(tags):
                continue
            _set_genre(tags, genre)
            if isinstance(tags, APEv2):
                self._save_ape(tags)
            elif isinstance(tags, ID3):
                target = self._file if tags is self._tags[0] else tags
                where = () if target is self._file else (self._path,)
                target.save(*where, v2_version=3 if tags.version[:2] == (2, 3) else 4, v23_sep=None)
            else:
                self._file.save()
        if end:
            number = TCON.GENRES.index(genre) if genre in TCON.GENRES else _V1_NO_GENRE
            with self._path.open("r+b") as file:
                file.seek(-_V1_BYTES, 2)
                file.write(end[:-1] + bytes([number]))

    def _save_ape(self, tags: APEv2) -> None:
        """Save an APE tag and restore the bytes after it, which mutagen would cut off."""
        tail = b""
        with self._path.open("rb") as file:
            place = _APEv2Data(file)
            if place.is_at_start:
                raise ValueError("its APE tag is at its beginning")
            if place.start is not None:
                file.seek(place.end)
                tail = file.read()
            elif end := self._v1():
                tail = end
        if tail and place.start is None:
            with self._path.open("r+b") as file:
                file.truncate(self._path.stat().st_size - len(tail))
        tags.save(self._path)
        with self._path.open("ab") as file:
            file.write(tail)

    def _save_riff(self, genre: str) -> None:
        tags = self._tags[0]
        _set_genre(tags, genre)
        content = io.BytesIO()
        version = 3 if tags.version[:2] == (2, 3) else 4
        tags.save(content, v1=0, v2_version=version, v23_sep=None, padding=lambda _: 0)
        with self._path.open("r+b") as file:
            former = next((chunk for chunk in read_chunks(file) if chunk.name.lower() == b"id3 "), None)
            write_chunk(file, former.name if former else b"id3 ", content.getvalue(), former)
            for index in range(len(read_chunks(file))):
                chunk = read_chunks(file)[index]
                entries = read_info(content_of(file, chunk)) if chunk.name == b"LIST" else []
                if any(name == b"IGNR" for name, _ in entries):
                    changed = [(name, genre.encode() + b"\0" if name == b"IGNR" else value) for name, value in entries]
                    write_chunk(file, b"LIST", write_info(changed), chunk)

    def _v1(self) -> bytes:
        if not self._is_stream or self._path.stat().st_size < _V1_BYTES:
            return b""
        with self._path.open("rb") as file:
            file.seek(-_V1_BYTES, 2)
            end = file.read()
            file.seek(max(file.tell() - _V1_BYTES - len(b"APE"), 0))
            is_ape = file.read(len(b"APETAGEX")) == b"APETAGEX"  # an APE tag of 131 bytes
        return end if end.startswith(b"TAG") and not is_ape else b""

    def others(self) -> object:
        """Return everything except the genre as an object that can be compared with that of another file."""
        info = [[entry for entry in entries if entry[0] != b"IGNR"] for entries in self._info]
        blocks = self._file.metadata_blocks if isinstance(getattr(self, "_file", None), FLAC) else []
        kept = [block for block in blocks if block.code not in (_PADDING_BLOCK, _COMMENT_BLOCK)]
        written = [(block.code, block.write()) for block in kept]
        return [[_others(tags) for tags in self._tags], self._v1()[:-1], self._chunks, info, written]


def _key(tags: object) -> str:
    return next((key for kind, key in _KEYS.items() if isinstance(tags, kind)), "")


def _id3(source: Any) -> ID3:
    try:
        tags = ID3(source, load_v1=False, translate=False)
    except ID3NoHeaderError:
        return ID3()
    if tags.version[:2] == (2, 2):
        tags.update_to_v24()
    return tags


def _id3_bytes(file: Any) -> int:
    """Measure the ID3v2 tag at the beginning of a file, in bytes."""
    start = 0
    while True:
        file.seek(start)
        header = file.read(_ID3_HEADER_BYTES)
        if len(header) < _ID3_HEADER_BYTES or header[:3] != b"ID3":
            break
        if start:
            raise ValueError("it has two ID3 tags")
        size = 0
        for byte in header[6:]:
            size = size << 7 | byte & 127
        start += _ID3_HEADER_BYTES + size + (_ID3_HEADER_BYTES if header[5] & 16 else 0)
    return start


def _genre_keys(tags: Any) -> list[str]:
    main = _key(tags)
    keys = [key for key, _ in tags] if isinstance(tags, ASFTags | VComment) else list(tags.keys())
    others = [key for key in keys if key.lower() in _OTHER_KEYS and key != main]
    return list(dict.fromkeys([*([main] if main in tags else []), *others]))


def _genres(tags: Any) -> list[str]:
    found: list[str] = []
    for key in _genre_keys(tags):
        value = tags[key]
        texts = value.genres if isinstance(value, TCON) else getattr(value, "text", value)
        for one in texts if isinstance(texts, list) else [texts]:
            text = one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)
            found += filter(None, map(str.strip, text.split("\0")))
    return found


def _set_genre(tags: Any, genre: str) -> None:
    for key in _genre_keys(tags):
        if key in tags:
            del tags[key]
    if isinstance(tags, ID3):
        tags.setall("TCON", [TCON(encoding=3, text=[genre])])
    else:
        tags[_key(tags)] = [genre]


def _others(tags: Any) -> object:
    genre_keys = _genre_keys(tags)
    if isinstance(tags, ID3):
        frames = [(key, _parts(frame)) for key, frame in tags.items() if key not in genre_keys]
        return [sorted(frames), sorted(tags.unknown_frames)]
    if isinstance(tags, VComment):
        return [tags.vendor, [(key, value) for key, value in tags if key not in genre_keys and key.lower() != "genre"]]
    if isinstance(tags, ASFTags):
        return [(key, _parts(value), repr(value)) for key, value in tags if key not in genre_keys]
    return sorted((key, repr(value)) for key, value in tags.items() if key not in genre_keys)


def _parts(value: object) -> str:
    """Return an object's attributes without its text encoding, which changes if a tag version does not support it."""
    return repr(sorted((name, part) for name, part in vars(value).items() if name != "encoding"))


_BLOCKS_PER_HEARTBEAT = 256


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
    """Write a genre into a file's tags in a worker process, for `Tagger`.

    Yields None from time to time to show that it is alive, and finally the result.
    """
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
        yield Tagging(Outcome.IMPOSSIBLE, "cannot be tagged: its format has no tags, or none that can be written")
    except OSError as error:
        yield Tagging(Outcome.FAILED, f"was not tagged: {error.strerror or error}")
    except Exception as error:  # mutagen's parsers raise errors of every kind for broken files
        yield Tagging(Outcome.FAILED, f"was not tagged: {error}")


def _require_writable(original: Path) -> None:
    status = original.stat()
    if not status.st_mode & stat.S_IWUSR or not os.access(original, os.W_OK):
        raise OSError("it is read-only")
    if status.st_nlink > 1:
        raise OSError(f"it has {status.st_nlink} names (hard links), and the others would keep the old tags")


def _replace(original: Path, genre: str, others: object) -> Iterator[None]:
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
                if number % _BLOCKS_PER_HEARTBEAT == 0:
                    yield None
        except DecoderError:
            digest.update(b"fails")
        digest.update(b"breaks off" * file.truncated)
    return digest.digest()

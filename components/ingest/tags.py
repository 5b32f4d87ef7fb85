"""Read artist and title from a file's tags, and compare spellings of artists' names."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import struct
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_ARTIST_TAGS = ("artist", "Artist", "Author", "TPE1", "IART")
_TITLE_TAGS = ("title", "Title", "TIT2", "INAM")
"""Names in easy tags, APE, ASF, ID3 and the INFO list of a wav."""

_PLACEHOLDERS_IN_ENGLISH = ("unknown", "unknownartist", "various", "variousartists", "va", "none", "nan", "na")
_PLACEHOLDERS_IN_SPANISH = ("desconocido", "artistadesconocido", "interpretedesconocido", "varios", "variosartistas")
_PLACEHOLDERS = frozenset((*_PLACEHOLDERS_IN_ENGLISH, *_PLACEHOLDERS_IN_SPANISH))
_GUESTS = re.compile(r"[\s(\[]+(?:feat|ft|featuring|with|con|vs|versus)(?:\.\s*|\s+)")
_OTHERS = re.compile(r"\s+(?:&|\+|y|e|and|x|×|/|\|)\s+|\s*[;,]\s*")
_ACCENTS = re.compile("[\u0300-\u036f]")


def artist_and_title(path: str | Path) -> tuple[str, str]:
    """Read artist and title from a file's tags; empty if there are none or they cannot be read."""
    artist = title = ""
    try:
        if not Path(path).is_file():  # opening a named pipe would block forever
            return "", ""
        for tags in _tags(Path(path)):
            artist, title = artist or _first(tags, _ARTIST_TAGS), title or _first(tags, _TITLE_TAGS)
            if artist and title:
                break
    except Exception:  # mutagen's parsers raise errors of every kind for broken files
        return artist, title
    return artist, title


def _tags(path: Path) -> Iterator[object]:
    """Yield the tags that a file may hold: first those that mutagen detects, then the others."""
    import mutagen  # takes 0.1 s, not needed for libraries with an artist column
    from mutagen.apev2 import APEv2
    from mutagen.flac import FLAC
    from mutagen.id3 import ID3

    with contextlib.suppress(Exception):  # mutagen takes a flac with an ID3 tag in front for an mp3
        yield mutagen.File(path, easy=True)
    with path.open("rb") as file:
        chunks = read_chunks(file)
        for chunk in chunks:
            if chunk.name.lower() == b"id3 ":
                with contextlib.suppress(mutagen.MutagenError):
                    yield ID3(io.BytesIO(content_of(file, chunk)))
            elif chunk.name == b"LIST":
                yield {name.decode("latin-1"): text_of(value) for name, value in read_info(content_of(file, chunk))}
    for kind in () if chunks else (FLAC, APEv2, ID3):
        with contextlib.suppress(mutagen.MutagenError):
            yield kind(path)


def _first(tags: object, names: tuple[str, ...]) -> str:
    for name in names:
        try:
            values = tags[name]  # type: ignore[index]
        except (KeyError, ValueError, TypeError):  # no such tag, no such tag in this format, no tags at all
            continue
        for value in getattr(values, "text", None) or (values if isinstance(values, list) else [values]):
            for text in str(value).split("\0"):  # ID3 and APE put several values into one
                if words := text.split():
                    return " ".join(words).encode("utf-8", "replace").decode("utf-8")
    return ""


def artist_key(name: str) -> str:
    """Return a key that is equal for all spellings of an artist's name; empty for placeholders such as "Desconocido".

    In doubt, names are equal: an artist in two splits makes a model look better than it is. Case, accents, punctuation,
    spaces and a leading "The" are ignored; of several artists only the first counts. Articles in other languages stay,
    since some names differ only in them (Los Diablitos, El Diablito).
    """
    plain = _plain(name)
    head = _GUESTS.split(plain, maxsplit=1)[0]
    key = next((key for part in _OTHERS.split(head) if (key := _letters(part))), _letters(plain))
    if not key:
        return re.sub(r"\s+", "", plain)  # a name of symbols only
    return "" if key in _PLACEHOLDERS else key


def _plain(name: str) -> str:
    """Remove case, accents, compatibility forms of characters and surrounding spaces."""
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFKD", name.casefold()))).strip()


def _letters(text: str) -> str:
    text = re.sub(r"^the\s+(?=\S)", "", text.strip())
    letters = "".join(character for character in text if unicodedata.category(character)[0] in "LMN")
    return letters if any(map(str.isalnum, letters)) else ""  # a mark alone is the variation selector of an emoji


_MAGIC = (b"RIFF", b"RF64", b"BW64")
_IN_DS64 = 0xFFFFFFFF
_MOST_CHUNKS, _MOST_BYTES = 10_000, 1 << 28  # a file with more chunks, or a longer chunk other than data, is damaged


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A chunk: four letters, the offset of its header, and its size in bytes without header and padding byte."""

    name: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        """Offset of the next chunk."""
        return self.start + 8 + self.size + self.size % 2


def read_chunks(file: BinaryIO) -> list[Chunk]:
    """List the chunks of a wav file, of which the last may be cut; empty if the file is not a wav."""
    file.seek(0)
    header = file.read(12)
    if len(header) < 12 or header[:4] not in _MAGIC or header[8:] != b"WAVE":
        return []
    length = os.fstat(file.fileno()).st_size
    chunks: list[Chunk] = []
    long_sizes: dict[bytes, int] = {}
    start = 12
    while start + 8 <= length and len(chunks) < _MOST_CHUNKS:
        file.seek(start)
        name, size = struct.unpack("<4sI", file.read(8))
        if not (name.isascii() and name.decode().isprintable()):
            break
        if name == b"ds64":
            _, long_sizes[b"data"] = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))
        chunks.append(Chunk(name, start, long_sizes.get(name, size) if size == _IN_DS64 else size))
        start = chunks[-1].end
    return chunks


def content_of(file: BinaryIO, chunk: Chunk) -> bytes:
    """Read a chunk without its header; raises ValueError if it is longer than any tag."""
    if chunk.size > _MOST_BYTES:
        raise ValueError(f"it has a chunk of {chunk.size} bytes that is no sound")
    file.seek(chunk.start + 8)
    return file.read(chunk.size)


def read_info(content: bytes) -> list[tuple[bytes, bytes]]:
    """Read the entries (four letters, value) of a LIST chunk's content; empty if it is not an INFO list."""
    entries, start = [], 4
    while content[:4] == b"INFO" and start + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, start)
        entries.append((name, content[start + 8 : start + 8 + size]))
        start += 8 + size + size % 2
    return entries


def text_of(value: bytes) -> str:
    """Decode a text of an INFO list, which does not declare its encoding, and strip zeros and spaces."""
    value = value.partition(b"\0")[0]
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace").strip()

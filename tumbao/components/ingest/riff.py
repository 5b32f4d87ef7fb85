"""Read and write chunks of wav files, including RF64 and BW64, which mutagen does not support."""

from __future__ import annotations

import dataclasses
import os
import struct
from typing import BinaryIO

_MAGIC = (b"RIFF", b"RF64", b"BW64")
_IN_DS64 = 0xFFFFFFFF
_MOST_CHUNKS, _MOST_BYTES = 10_000, 1 << 28  # a file with more chunks, or a longer one beside the sound, is damaged
_RIFF_SIZE = 20  # where ds64, which is the first chunk, holds the file's size


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A chunk.

    Parameters
    ----------
    name : bytes
        Four letters.
    start : int
        Where its header begins in the file.
    size : int
        Of what follows the header, in bytes, without the byte that makes it even.
    """

    name: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.start + 8 + self.size + self.size % 2


def read_chunks(file: BinaryIO) -> list[Chunk]:
    """List the chunks of a wav file.

    Parameters
    ----------
    file : binary file
        Any.

    Returns
    -------
    chunks : list of Chunk
        In order, up to the first invalid name; empty if the file is not a wav. The last one may extend beyond the file.
    """
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
            content = file.read(min(size, 1 << 16))
            _, long_sizes[b"data"], _, entries = struct.unpack_from("<QQQI", content.ljust(28, b"\0"))
            for at in range(28, min(28 + 12 * entries, len(content) - 11), 12):
                key, value = struct.unpack_from("<4sQ", content, at)
                long_sizes[key] = value
        chunks.append(Chunk(name, start, long_sizes.get(name, size) if size == _IN_DS64 else size))
        start = chunks[-1].end
    return chunks


def content_of(file: BinaryIO, chunk: Chunk) -> bytes:
    """Read a chunk.

    Parameters
    ----------
    file : binary file
        From which `chunk` is.
    chunk : Chunk
        From `read_chunks`.

    Returns
    -------
    content : bytes
        Without the header.

    Raises
    ------
    ValueError
        If it is longer than any tag.
    """
    if chunk.size > _MOST_BYTES:
        raise ValueError(f"it has a chunk of {chunk.size} bytes that is no sound")
    file.seek(chunk.start + 8)
    return file.read(chunk.size)


def write_chunk(file: BinaryIO, name: bytes, content: bytes, former: Chunk | None = None) -> None:
    """Write a chunk and update the sizes in the file's header.

    Parameters
    ----------
    file : binary file
        A wav file, open for reading and writing.
    name : bytes
        Four letters.
    content : bytes
        Its content.
    former : Chunk or None
        The chunk to replace; None appends the new one.

    Raises
    ------
    ValueError
        If the chunks do not end where the file does, or the file becomes too long.
    """
    from mutagen._util import resize_bytes

    chunks = read_chunks(file)
    length = os.fstat(file.fileno()).st_size
    if not chunks or chunks[-1].end not in (length, length + 1):  # the last byte, which makes it even, is often missing
        raise ValueError("its header does not tell where its sound ends")
    file.seek(length)
    file.write(bytes(chunks[-1].end - length))
    written = struct.pack("<4sI", name, len(content)) + content + bytes(len(content) % 2)
    start, end = (former.start, former.end) if former else (chunks[-1].end,) * 2
    resize_bytes(file, end - start, len(written), start)
    file.seek(start)
    file.write(written)
    size = os.fstat(file.fileno()).st_size - 8
    file.seek(0)
    magic, declared = struct.unpack("<4sI", file.read(8))
    if magic != b"RIFF" and chunks[0].name == b"ds64":
        file.seek(_RIFF_SIZE)
        file.write(struct.pack("<Q", size))
    if magic == b"RIFF" or declared != _IN_DS64:
        if size >= _IN_DS64:
            raise ValueError("it would be longer than 4 GB")
        file.seek(4)
        file.write(struct.pack("<I", size))


def read_info(content: bytes) -> list[tuple[bytes, bytes]]:
    """Read the entries of a LIST chunk.

    Parameters
    ----------
    content : bytes
        Of the chunk.

    Returns
    -------
    entries : list of (bytes, bytes)
        Four letters and value of each; empty if it is not an INFO list.
    """
    entries, start = [], 4
    while content[:4] == b"INFO" and start + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, start)
        entries.append((name, content[start + 8 : start + 8 + size]))
        start += 8 + size + size % 2
    return entries


def write_info(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Encode the entries of an INFO list as the content of a LIST chunk.

    Parameters
    ----------
    entries : list of (bytes, bytes)
        See `read_info`.

    Returns
    -------
    content : bytes
        Of the chunk.
    """
    parts = [struct.pack("<4sI", name, len(value)) + value + bytes(len(value) % 2) for name, value in entries]
    return b"INFO" + b"".join(parts)


def text_of(value: bytes) -> str:
    """Decode text of an INFO list, which does not declare its encoding.

    Parameters
    ----------
    value : bytes
        Value of an entry.

    Returns
    -------
    text : str
        Without zeros and spaces around.
    """
    value = value.partition(b"\0")[0]
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("cp1252", "replace").strip()

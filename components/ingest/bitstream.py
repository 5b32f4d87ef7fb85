"""Parse the byte structure of audio files: where sound continues, and whether a file is truncated.

All reads are `pread` in blocks: memory is bounded, and a file may shrink while it is read.
"""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
import os
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from tumbao.components.ingest.os_compat import pread

_BLOCK_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16  # longer than an Ogg page and than many frames of mp3
_LONGEST_PATTERN_BYTES = 64
_PAGE_HEADER_BYTES = 27 + 255  # the longest header of an Ogg page
UNKNOWN_SIZE_BYTES = 0x7FFF_F000  # programs write sizes from here on before they know the length
_LEAST_FRAMES = 4  # fewer consecutive frame headers may be coincidence

_MPEG_KBITS = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""(3 for MPEG-1 or 2 for MPEG-2 and 2.5, bits of the layer) → bit rates by index, from 1 (ISO/IEC 11172-3, 13818-3)."""
_MPEG_RATES_HZ = (44_100, 48_000, 32_000)
_FLAC_RATES_HZ = (0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
_FRAME_SYNC = re.compile(rb"\xff[\xe2-\xff][^\xff]", re.DOTALL)
_FLAC_SYNC = re.compile(rb"\xff[\xf8\xf9][^\xff]", re.DOTALL)
_MPEG_START = re.compile(rb"Xing|Info|VBRI|ID3[\x02-\x04]\x00", re.DOTALL)
_OTHER_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02|RIFF....WAVE", re.DOTALL)
_MATROSKA_START = re.compile(rb"\x1aE\xdf\xa3.{1,40}?B\x82", re.DOTALL)
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22", re.DOTALL)
_OGG_PAGE = re.compile(rb"OggS\x00[\x00-\x07]", re.DOTALL)
_OGG_START = re.compile(rb"OggS\x00[\x02\x06]", re.DOTALL)
_CHUNKED = (b"RIFF", b"RF64", b"BW64", b"FORM")
_XING_OFFSETS = (36, 21, 13)  # from the frame header: MPEG-1 stereo and VBRI, MPEG-1 mono and MPEG-2 stereo, others


class View(io.RawIOBase):
    """A range of bytes of an open file, as a file object.

    `patches` maps positions in the file to bytes that replace the file's own.
    """

    def __init__(self, descriptor: int, start: int, end: int, patches: dict[int, bytes] | None = None) -> None:
        self._descriptor, self._start, self._end = descriptor, start, max(start, end)
        self._patches = patches or {}
        self._position = start

    @property
    def position(self) -> int:
        """Position in the file of the next read."""
        return self._position

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        origin = {os.SEEK_SET: self._start, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        self._position = max(self._start, origin + offset)
        return self._position - self._start

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # noqa: D102
        wanted = min(len(buffer), max(0, self._end - self._position))
        content = bytearray(pread(self._descriptor, wanted, self._position))
        for position, patch in self._patches.items():
            for number, byte in enumerate(patch):
                if 0 <= (index := position + number - self._position) < len(content):
                    content[index] = byte
        buffer[: len(content)] = bytes(content)
        self._position += len(content)
        return len(content)


@dataclasses.dataclass(frozen=True)
class Chunks:
    """The chunks of a wav, aiff or avi file, as byte positions in the file.

    The ends are None where the header does not declare a size. `sound_start` is behind the header of the samples'
    chunk, 0 without such a chunk. `last_end` is the end of the last readable chunk and may lie beyond the file's end.
    """

    declared_end: int | None
    sound_start: int
    sound_end: int | None
    last_end: int
    patches: dict[int, bytes]


def matches(descriptor: int, pattern: re.Pattern[bytes], start: int, end: int | None = None) -> Iterator[int]:
    """Yield the positions from `start` on at which a pattern matches, up to `end` or the file's end.

    The pattern may match at most `_LONGEST_PATTERN_BYTES` bytes.
    """
    while block := pread(descriptor, _BLOCK_BYTES, start):
        is_last = len(block) < _BLOCK_BYTES
        searched = len(block) if is_last else len(block) - _LONGEST_PATTERN_BYTES
        for match in pattern.finditer(block):
            if match.start() < searched:
                if end is not None and start + match.start() >= end:
                    return
                yield start + match.start()
        start += searched
        if is_last or (end is not None and start >= end):
            return


def frame_bytes(head: bytes) -> int:
    """Return the length of a frame of MPEG audio (any layer) or of AAC in ADTS, 0 if `head` is not a frame header.

    `head` holds the first six bytes of the frame or more.
    """
    if len(head) < 6 or head[0] != 0xFF or head[1] < 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0:  # ADTS
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return length if head[1] >= 0xF0 and head[2] >> 2 & 15 < 13 and length > 7 else 0
    rate, kbits, padding = head[2] >> 2 & 3, head[2] >> 4, head[2] >> 1 & 1
    if version == 1 or rate == 3 or not 0 < kbits < 15:
        return 0
    rate_hz = _MPEG_RATES_HZ[rate] >> (0 if version == 3 else 1 if version == 2 else 2)
    bits = 1_000 * _MPEG_KBITS[3 if version == 3 else 2, layer][kbits - 1]
    if layer == 3:
        return (12 * bits // rate_hz + padding) * 4
    return (72 if layer == 1 and version != 3 else 144) * bits // rate_hz + padding


def _same_kind(head: bytes) -> tuple[int, int]:
    return head[1] & 0xFE, head[2] & 0x0C


def _follow(descriptor: int, start: int, most: float = math.inf) -> tuple[int, int, tuple[int, int] | None]:
    """Follow consecutive frames of one kind, at most `most`: return their number, the last one's end and their kind."""
    count, kind = 0, None
    while count < most and (length := frame_bytes(head := pread(descriptor, 6, start))):
        if kind not in (None, _same_kind(head)):
            break
        kind = _same_kind(head)
        count, start = count + 1, start + length
    return count, start, kind


def _is_frame(descriptor: int, position: int) -> bool:
    """Return whether at least `_LEAST_FRAMES` consecutive frames of one kind begin here."""
    return _follow(descriptor, position, _LEAST_FRAMES)[0] == _LEAST_FRAMES


def _last_frame_is_cut(descriptor: int, size: int) -> bool:
    cut, searched = False, max(0, size - _TAIL_BYTES)
    for position in matches(descriptor, _FRAME_SYNC, searched):
        if position < searched:
            continue
        count, end, kind = _follow(descriptor, position)
        if count < _LEAST_FRAMES or kind is None:
            continue
        searched = end
        if end > size:
            return True
        head = pread(descriptor, 6, end)
        cut = 0 < len(head) < 6 and head[0] == 0xFF and (len(head) < 2 or head[1] & 0xFE == kind[0])
    return cut


def _synchsafe(content: bytes) -> int:
    return sum((byte & 0x7F) << shift for byte, shift in zip(content, (21, 14, 7, 0), strict=True))


def _mpeg_links(descriptor: int) -> Iterator[int]:
    for position in matches(descriptor, _MPEG_START, 0):
        marker = pread(descriptor, 10, position)
        if marker[:3] == b"ID3":
            if len(marker) == 10 and max(marker[6:]) < 0x80:
                after = position + 10 + _synchsafe(marker[6:])
                if next(matches(descriptor, _FRAME_SYNC, after, after + 4096), None) is not None:
                    yield position
        else:
            for offset in _XING_OFFSETS:
                if position >= offset and _is_frame(descriptor, position - offset):
                    yield position - offset
                    break


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = (value << 1 ^ (0x07 if value & 0x80 else 0)) & 0xFF
    return value


class FlacFrame(NamedTuple):
    """The header of a FLAC frame.

    `number` counts samples if `by_sample` is set, otherwise frames. A `sample_rate_hz` of 0 means the stream's rate.
    """

    by_sample: bool
    number: int
    sample_rate_hz: int
    channels: int


def _flac_frame(head: bytes) -> FlacFrame | None:
    """Parse 16 bytes as the header of a FLAC frame (RFC 9639, section 9.1); return None if they are not one."""
    if len(head) < 16 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[2] >> 4 == 0:
        return None
    code = head[2] & 15
    if code == 15 or head[3] >> 4 > 10 or head[3] >> 1 & 7 == 3:
        return None
    ones = 8 - (~head[4] & 0xFF).bit_length()
    if ones in (1, 8):
        return None
    end = 4 + max(1, ones)
    number = head[4] & (0x7F >> ones)
    for byte in head[5:end]:
        if byte >> 6 != 2:
            return None
        number = number << 6 | byte & 0x3F
    end += {6: 1, 7: 2}.get(head[2] >> 4, 0)
    if code < 12:
        rate_hz = _FLAC_RATES_HZ[code]
    else:
        width = 1 if code == 12 else 2
        rate_hz = int.from_bytes(head[end : end + width], "big") * {12: 1_000, 13: 1, 14: 10}[code]
        end += width
    if end >= len(head) or _crc8(head[:end]) != head[end]:
        return None
    channels = head[3] >> 4
    return FlacFrame(bool(head[1] & 1), number, rate_hz, channels + 1 if channels < 8 else 2)


def first_flac_frame(descriptor: int) -> FlacFrame | None:
    """Read the header of a FLAC file's first frame, whose rate may differ from that in the file's header."""
    start = next(matches(descriptor, _FLAC_START, 0, _BLOCK_BYTES), None)
    if start is None:
        return None
    start += 4
    while len(head := pread(descriptor, 4, start)) == 4:
        start += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 0x80:
            break
    return _flac_frame(pread(descriptor, 16, start))


def _undecoded_flac(descriptor: int, position: int, decoded: int) -> Iterator[int]:
    """Yield the positions of frames whose samples are not decoded yet."""
    start = next(matches(descriptor, _FLAC_START, 0, _BLOCK_BYTES), 0)
    block = int.from_bytes(pread(descriptor, 2, start + 10), "big")
    for candidate in matches(descriptor, _FLAC_SYNC, position):
        frame = _flac_frame(pread(descriptor, 16, candidate))
        if frame and frame.number * (1 if frame.by_sample else block) >= decoded:
            yield candidate


def _ogg_links(descriptor: int) -> Iterator[int]:
    after = 0  # the first pages of multiplexed streams follow each other directly
    for position in matches(descriptor, _OGG_START, 0):
        if position != after:
            yield position
        head = pread(descriptor, _PAGE_HEADER_BYTES, position)
        after = position + 27 + head[26] + sum(head[27 : 27 + head[26]]) if len(head) > 26 else 0


def ogg_counts_back(descriptor: int, size: int) -> bool:
    """Return whether the last page of an Ogg file contradicts the pages before it.

    The last page declares the file's length. It contradicts the others if it declares less than they do, or nothing.
    """
    counts: dict[bytes, list[int]] = {}  # stream → samples up to the end of each page
    for position in matches(descriptor, _OGG_PAGE, max(0, size - 4 * _TAIL_BYTES)):
        if len(head := pread(descriptor, 18, position)) == 18:
            counts.setdefault(head[14:18], []).append(int.from_bytes(head[6:14], "little", signed=True))
    return any(stream[-1] < max(stream) or stream[-1] < 0 for stream in counts.values())


def _last_page_is_cut(descriptor: int, size: int) -> bool:
    start = max(0, size - _TAIL_BYTES - 27)
    tail = pread(descriptor, size - start, start)
    position = tail.rfind(b"OggS\x00")
    if position < 0:
        return False
    head = tail[position : position + 27]
    if len(head) < 27:
        return True
    lacing = tail[position + 27 : position + 27 + head[26]]
    return len(lacing) < head[26] or position + 27 + head[26] + sum(lacing) > len(tail)


def _ebml_number(content: bytes, keep_marker: bool) -> tuple[int, int]:
    """Read a number of variable length: return it and its length; -1 means unknown (all bits set)."""
    length = 9 - content[0].bit_length() if content else 9
    if length > 8 or len(content) < length:
        return 0, 0
    number = int.from_bytes(content[:length], "big")
    if keep_marker:
        return number, length
    number &= (1 << 7 * length) - 1
    return (-1 if number == (1 << 7 * length) - 1 else number), length


_EBML_MASTERS = (0x18538067, 0x1F43B675, 0xA0)  # Segment, Cluster, BlockGroup
_EBML_SOUND = (0xA3, 0xA1)  # SimpleBlock, Block


def _last_element_is_cut(descriptor: int, size: int) -> bool:
    position = 0
    while position < size:
        head = pread(descriptor, 12, position)
        name, width = _ebml_number(head, True)
        length, more = _ebml_number(head[width:], False) if width else (0, 0)
        if not more:
            return len(head) < 12 and name in (*_EBML_MASTERS, *_EBML_SOUND, 0)
        start = position + width + more
        is_inside = name in _EBML_MASTERS and (name == 0x18538067 or length < 0 or start + length > size)
        if not is_inside and (length < 0 or start + length > size):
            return name in _EBML_SOUND
        position = start if is_inside else start + length
    return False


def read_chunks(descriptor: int, size: int, begin: int = 0) -> Chunks | None:
    """Read the chunks of a RIFF, RF64 or FORM file that begins at `begin`; return None for any other file."""
    head = pread(descriptor, 12, begin)
    name = head[:4]
    if len(head) < 12 or name not in _CHUNKED:
        return None
    order = ">" if name == b"FORM" else "<"
    large: dict[bytes, int] = {}
    patches: dict[int, bytes] = {}

    def end_of(start: int, chunk: bytes, declared: int) -> int | None:
        if declared == 0xFFFF_FFFF and chunk in large:
            declared = large[chunk]
        elif declared >= UNKNOWN_SIZE_BYTES:
            return None
        return start + declared if declared else None

    position, last_end, sound_start = begin + 12, begin + 12, 0
    sound_end: int | None = None
    while len(chunk := pread(descriptor, 8, position)) == 8:
        identifier, declared = struct.unpack(f"{order}4sI", chunk)
        if not (identifier.isascii() and identifier.decode().isprintable()) or identifier in _CHUNKED:
            break
        start = position + 8
        if identifier == b"ds64":
            riff, data = struct.unpack("<QQ", pread(descriptor, 16, start).ljust(16, b"\0"))
            large = {name: riff, b"data": data}
        if identifier == b"fmt ":
            patches |= _format_patches(pread(descriptor, 16, start), start)
        end = end_of(start, identifier, declared)
        if identifier in (b"data", b"SSND"):
            sound_start, sound_end = start, end
            if end is None or end > size:
                last_end = size if end is None else end
                break
        last_end = start + declared if end is None else end
        position = last_end + (last_end - start & 1)
        if position > last_end and pread(descriptor, 1, last_end) != b"\0":
            position = last_end  # some programs omit the padding byte after a chunk of odd size
        if last_end > size:
            break
    return Chunks(
        end_of(begin + 8, name, struct.unpack(f"{order}I", head[4:8])[0]), sound_start, sound_end, last_end, patches
    )


def _format_patches(chunk: bytes, start: int) -> dict[int, bytes]:
    """Correct the one number of a wav's format chunk that contradicts the others, if those agree."""
    if len(chunk) < 16:
        return {}
    coding, channels, rate, byte_rate, block, bits = struct.unpack("<HHIIHH", chunk)
    if coding not in (1, 3, 0xFFFE) or bits not in (8, 16, 24, 32, 64) or not block or block * 8 % bits:
        return {}
    if byte_rate == rate * block and channels != block * 8 // bits:
        return {start + 2: struct.pack("<H", block * 8 // bits)}
    if channels * bits // 8 == block and byte_rate % block == 0 and byte_rate // block != rate:
        return {start + 4: struct.pack("<I", byte_rate // block)}
    return {}


def repairs(descriptor: int, size: int) -> dict[int, bytes]:
    """Return corrections of a wav or aiff header that make all of the file's sound readable, as position → bytes.

    Bytes behind the samples' chunk are taken for sound if they are not a chunk and the file's declared size includes
    them. This distinguishes a declared size that is too small from sound that is followed by other data.
    """
    chunks = read_chunks(descriptor, size)
    if chunks is None or not chunks.sound_start:
        return {}
    patches, end, magic = dict(chunks.patches), chunks.sound_end, pread(descriptor, 4, 0)
    riff = {0: b"RIFF"} if magic in (b"RF64", b"BW64") else {}  # as RIFF, the samples extend to the file's end
    if end is None or end > size:
        return patches | riff
    if end >= size - 8 or chunks.last_end >= size - 8:
        return patches
    if chunks.declared_end is not None and chunks.declared_end <= chunks.last_end + 1:
        return patches
    if pread(descriptor, 4, chunks.last_end + (chunks.last_end & 1)) in _CHUNKED:
        return patches
    order = ">" if magic == b"FORM" else "<"
    sound = struct.pack(f"{order}I", min(size - chunks.sound_start, 0xFFFF_FFFE))
    return patches | riff | {chunks.sound_start - 4: sound}


def _chunk_is_cut(descriptor: int, size: int) -> bool:
    """Return whether both the file's first and its last chunk declare more bytes than the file has."""
    chunks = read_chunks(descriptor, size)
    return bool(chunks and chunks.declared_end and chunks.declared_end > size and chunks.last_end > size)


def _chunk_links(descriptor: int, size: int) -> Iterator[int]:
    begin: int | None = 0
    while begin is not None:
        chunks = read_chunks(descriptor, size, begin)
        if chunks is None or chunks.sound_end is None:
            return
        ends = (chunks.last_end, chunks.last_end + (chunks.last_end & 1))
        begin = next((end for end in ends if pread(descriptor, 4, end) in _CHUNKED), None)
        if begin is not None:
            yield begin


def _mp4_links(descriptor: int, size: int) -> Iterator[int]:
    position = 0
    while position < size and len(head := pread(descriptor, 16, position)) == 16:
        length = int.from_bytes(head[:4], "big")
        if head[4:8] == b"ftyp" and position:
            yield position
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8 or not head[4:8].isascii():
            return
        position += length


def tags_end(descriptor: int) -> int:
    """Return where the ID3v2 and APE tags at the beginning of a file end, in bytes.

    The position lies beyond the file's end if the file is cut off inside a tag.
    """
    end = 0
    while len(head := pread(descriptor, 32, end)) == 32:
        if head[:3] == b"ID3" and max(head[6:10]) < 0x80:
            end += 10 + _synchsafe(head[6:10]) + (10 if head[5] & 0x10 else 0)
        elif head[:8] == b"APETAGEX":
            end += 32 + int.from_bytes(head[12:16], "little")
        else:
            break
    return end


def links(descriptor: int, size: int, container: str) -> list[int]:
    """Find where files that were concatenated begin (chained Ogg, joined mp3, FLAC, wav, m4a), in bytes, sorted.

    `container` is one of the values of `CONTAINERS`, or another name. The first position is 0.
    """
    found: Iterator[int] = iter(())
    if container in ("mpeg", "flac"):
        found = itertools.chain(matches(descriptor, _OTHER_START, 1), _mpeg_links(descriptor))
    elif container == "ogg":
        found = _ogg_links(descriptor)
    elif container == "riff":
        found = _chunk_links(descriptor, size)
    elif container == "mp4":
        found = _mp4_links(descriptor, size)
    elif container == "matroska":
        found = matches(descriptor, _MATROSKA_START, 1)
    return sorted({0, *found})


def undecoded(descriptor: int, size: int, container: str, position: int, decoded: int) -> list[int]:
    """Return the `links` at which decoding must continue after libsndfile has read the first of them.

    `position` is the byte up to which libsndfile has read, `decoded` the samples per channel that it returned. All
    links, from 0 on, are returned if the first is not decoded to its end.
    """
    nearby, frame = 1, None
    if container == "mpeg":
        nearby = position
        frame = next((at for at in matches(descriptor, _FRAME_SYNC, position) if _is_frame(descriptor, at)), None)
    elif container == "flac":
        nearby = max(1, position - _TAIL_BYTES)  # libsndfile reads ahead
        frame = next(_undecoded_flac(descriptor, nearby, decoded), None)
    elif position >= size:
        return []
    elif container == "ogg":
        frame = next(matches(descriptor, _OGG_PAGE, position), None)  # a page's sample count may be wrong, too
    if frame is None and nearby > 1 and next(matches(descriptor, _OTHER_START, nearby), None) is None:
        return []
    starts = links(descriptor, size, container)
    fresh = [start for start in starts if start >= nearby]
    return starts if frame is not None and (not fresh or frame < fresh[0]) else fresh


def breaks_off(descriptor: int, size: int, container: str) -> bool | None:
    """Return whether a file's last frame, page, block or chunk is incomplete; None if its bytes do not show that."""
    checks = {
        "mpeg": _last_frame_is_cut,
        "ogg": _last_page_is_cut,
        "riff": _chunk_is_cut,
        "matroska": _last_element_is_cut,
    }
    return checks[container](descriptor, size) if container in checks else None


CONTAINERS = {
    **dict.fromkeys(("WAV", "WAVEX", "RF64", "AIFF", "wav", "aiff", "avi"), "riff"),
    **dict.fromkeys(("MP3", "mp3", "aac"), "mpeg"),
    "FLAC": "flac",
    "OGG": "ogg",
    "matroska,webm": "matroska",
    "mov,mp4,m4a,3gp,3g2,mj2": "mp4",
}
"""Container names of libsndfile and libav → container name in this module; libav's other names stay."""

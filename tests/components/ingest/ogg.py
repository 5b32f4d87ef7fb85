"""Ogg pages with correct checksums."""

from __future__ import annotations


def with_checksums(ogg: bytes) -> bytes:
    """Set each page's serial number to 1 and its checksum, without which decoders ignore it."""
    pages = []
    for body in ogg.split(b"OggS")[1:]:
        page = bytearray(b"OggS" + body)
        page[14:18], page[22:26] = (1).to_bytes(4, "little"), bytes(4)
        checksum = 0
        for byte in page:
            checksum = (checksum << 8 & 0xFFFFFFFF) ^ OGG_TABLE[checksum >> 24 ^ byte]
        page[22:26] = checksum.to_bytes(4, "little")
        pages.append(bytes(page))
    return b"".join(pages)


def ogg_table() -> list[int]:
    table = list(range(0, 256 << 24, 1 << 24))
    for _ in range(8):
        table = [(entry << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if entry >> 31 else 0) for entry in table]
    return table


OGG_TABLE = ogg_table()

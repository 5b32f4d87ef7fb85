"""Names of files and folders from arbitrary titles."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

LONGEST_BYTES = 200
"""Leaves room for a number and an extension below the 255 bytes of most file systems."""

_UNSAFE = re.compile(r'[<>:"/\\|?*]')
_INVISIBLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, halves of surrogate pairs, line and paragraph separators."""


def clean_text(text: str) -> str:
    """Convert a text to one line in Unicode's composed form (NFC) that every file can hold.

    Control characters and runs of white space become one space.
    """
    visible = "".join(" " if unicodedata.category(char) in _INVISIBLE else char for char in text)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def safe_name(text: str) -> str:
    """Convert a title to one part of a path, of 1 to `LONGEST_BYTES` bytes of UTF-8.

    It contains no separator, and no dot or space at either end, so it is neither a hidden file nor a parent folder.
    """
    name = _UNSAFE.sub("_", clean_text(text)).strip(". ")
    name = name.encode()[:LONGEST_BYTES].decode(errors="ignore").rstrip(". ")
    return name or "untitled"


def numbered(stem: str, extension: str) -> Iterator[str]:
    """Yield candidate names in order: ``stem.extension``, ``stem (2).extension``, ``stem (3).extension`` and so on."""
    yield f"{stem}.{extension}"
    number = 2
    while True:
        yield f"{stem} ({number}).{extension}"
        number += 1

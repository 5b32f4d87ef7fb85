"""Names of files and folders, made from titles that anybody may have written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

LONGEST_BYTES = 200
"""Leaves room for a number and an ending below the 255 bytes of most file systems."""

_UNSAFE = re.compile(r'[<>:"/\\|?*]')
_INVISIBLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, halves of surrogate pairs, line and paragraph separators."""


def clean_text(text: str) -> str:
    """Write a text on one line that every file can hold.

    Parameters
    ----------
    text : str
        Any.

    Returns
    -------
    clean : str
        In Unicode's composed form; control characters and runs of white space are one space.
    """
    visible = "".join(" " if unicodedata.category(char) in _INVISIBLE else char for char in text)
    return " ".join(unicodedata.normalize("NFC", visible).split())


def safe_name(text: str) -> str:
    """Turn a title into one part of a path.

    Parameters
    ----------
    text : str
        Any, also with slashes, dots, line ends or emoji.

    Returns
    -------
    name : str
        1 to `LONGEST_BYTES` bytes of UTF-8: no separator, and no dot or space at an end, so that it is no hidden
        file and no parent folder.
    """
    name = _UNSAFE.sub("_", clean_text(text)).strip(". ")
    name = name.encode()[:LONGEST_BYTES].decode(errors="ignore").rstrip(". ")
    return name or "untitled"


def numbered(stem: str, ending: str) -> Iterator[str]:
    """Count names up until one is free: ``stem.ending``, ``stem (2).ending``, ``stem (3).ending`` and so on.

    Parameters
    ----------
    stem : str
        Of `safe_name`.
    ending : str
        Without the dot.

    Yields
    ------
    name : str
        The next candidate.
    """
    yield f"{stem}.{ending}"
    number = 2
    while True:
        yield f"{stem} ({number}).{ending}"
        number += 1

"""What lies in a folder of songs, in the folders below it and behind links."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tumbao.components.ingest.places import Address, Place, below

_TEXTS = (".json", ".jsonl", ".txt", ".md", ".csv", ".tsv", ".xml", ".html", ".pdf", ".lrc", ".nfo", ".log", ".ini")
_PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp")
_LISTS = (".cue", ".m3u", ".m3u8", ".pls", ".sfv", ".md5", ".db", ".mid")

SIDECARS = frozenset((*_TEXTS, *_PICTURES, *_LISTS))
"""Endings of files that lie beside songs and are none."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a folder; hidden files and folders are passed over.

    Parameters
    ----------
    files : tuple of Place
        What may be songs, sorted: only the content says whether a file is one.
    sidecars : tuple of Place
        What is none by its ending, sorted, see `SIDECARS`.
    unlisted : tuple of OSError
        Why folders could not be listed; each error names its folder.
    """

    files: tuple[Place, ...]
    sidecars: tuple[Place, ...]
    unlisted: tuple[OSError, ...]


def walk(folder: Place) -> Listing:
    """List a folder, following links, but no folder twice.

    Parameters
    ----------
    folder : Place
        Where to begin.

    Returns
    -------
    listing : Listing
        Everything below it.
    """
    unlisted: list[OSError] = []
    paths: list[Place] = []
    if isinstance(folder, Address):
        paths.extend(_in_bucket(folder, unlisted))
    else:
        paths.extend(_here(folder, unlisted))
    sidecars = tuple(path for path in paths if path.suffix.lower() in SIDECARS)
    files = tuple(path for path in paths if path.suffix.lower() not in SIDECARS)
    return Listing(files, sidecars, tuple(unlisted))


def _here(folder: Path, unlisted: list[OSError]) -> list[Path]:
    paths: list[Path] = []
    seen: set[Path] = set()
    for place, folders, names in os.walk(folder, onerror=unlisted.append, followlinks=True):
        if (real := Path(place).resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(paths)


def _in_bucket(folder: Address, unlisted: list[OSError]) -> list[Address]:
    try:
        paths = folder.files_below()
    except OSError as error:
        unlisted.append(error)
        return []
    return [path for path in paths if not any(part.startswith(".") for part in below(path, folder).parts)]

"""The songs that a library lists, before any file is opened; and the simplest layout, a folder of genre folders."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.folders import left_out_line, walk
from tumbao.components.ingest.paths import AnyPath, RemotePath, as_path, below, is_remote
from tumbao.schema.errors import UserError

LIBRARY_FILE = "library.json"
"""A file at the root of a library that describes it; `{"synthetic": true}` marks composed songs."""

SPLIT_NAMES: dict[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Common names of a split → its name in `record.SPLITS`."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One song, or a part of one, as the library lists it; unknown strings are empty.

    `path` is absolute, or an address (see `paths.SCHEMES`). `song` is the identifier, the unit of split: the path below
    the library with forward slashes, unless the library defines another; entries of one song are parts of it. A start
    of None means the beginning of the file, an end of None its end. `extras` are the other columns of the library's
    table.

    `relative` marks a path that is written relative to a list: it has to stay in the library, see `is_outside`. `fault`
    says why there is nothing to open (a folder that cannot be listed, an invalid row). `subgenre` is used by
    `subgenres.scan_leaves` only.
    """

    path: str
    song: str
    genre: str
    artist: str = ""
    album: str = ""
    split: str = ""
    start_seconds: float | None = None
    end_seconds: float | None = None
    extras: dict[str, str] = dataclasses.field(default_factory=dict)
    relative: bool = False
    fault: str = ""
    subgenre: str = ""
    fault_reason: Reason = Reason.UNREADABLE


@dataclasses.dataclass(frozen=True)
class SongList:
    """The songs that a library lists.

    `entries` contain every song and every fault; `notes` are messages about the library, such as the number of files
    that are left out.
    """

    entries: list[Entry]
    notes: tuple[str, ...] = ()


def split_name(text: str) -> str:
    """Return the name of a split in `record.SPLITS` (`Validation` → `val`); empty if the text is not a split."""
    return SPLIT_NAMES.get(text.strip().lower(), "")


def is_outside(entry: Entry, root: AnyPath) -> bool:
    """Tell whether a relative path leads out of the library, through `..` or a link; such a file must not be opened.

    An absolute path or an address in a list is intended by its author, and never outside. Neither is a file that was
    found by scanning the folder: its links were created by the owner of the library.
    """
    if not entry.relative:
        return False
    if isinstance(root, RemotePath):
        return ".." in entry.path[len(root.text) :].split("/")
    real_root = os.path.realpath(root)  # not Path.resolve, which raises where links run in a circle
    return os.path.commonpath((real_root, os.path.realpath(entry.path))) != real_root


def one_path(path: str) -> str:
    """Return the same absolute path for all ways to name a file: relative, absolute or through a linked folder.

    A file that is itself a link keeps its own path.
    """
    if is_remote(path):
        return path
    folder, name = os.path.split(os.path.normpath(path))
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - Path.resolve raises where links run in a circle


def identifier(path: str, root: AnyPath) -> str:
    """Return a song's path below the library, or its whole path if it lies elsewhere."""
    if is_remote(path):
        return path.removeprefix(f"{root}/")
    plain = Path(os.path.normpath(path))
    if isinstance(root, RemotePath):
        return plain.as_posix()
    top = Path(os.path.normpath(root.absolute()))
    if plain.is_relative_to(top):
        return plain.relative_to(top).as_posix()
    real, real_top = Path(one_path(path)), Path(os.path.realpath(top))
    return (real.relative_to(real_top) if real.is_relative_to(real_top) else plain).as_posix()


def invalid_row(file: AnyPath, line: int, fault: str, name: str = "") -> Entry:
    """Return an entry with a fault for a row that cannot be used.

    `line` is the line in which the row begins, from 1; `name` is the list's path below the library if it differs from
    the file name.
    """
    return Entry(
        path=f"{file}, line {line}",
        song=f"{name or file.name}, line {line}",
        genre="",
        fault=fault,
        fault_reason=Reason.INVALID_ROW,
    )


def read_folder(folder: AnyPath) -> SongList:
    """List a folder of `<genre>/file` or `<split>/<genre>/file`, with folders of any depth below the genre.

    Files are sorted by path and followed by faults for the folders that could not be listed. Files that are not songs
    by their name are left out, see `folders.left_out_kind`.
    """
    root = folder.absolute()
    if not root.is_dir():
        raise UserError(
            f"Expected a folder with one folder of songs per genre. Received: {folder}, "
            f"which {'is no folder' if root.exists() else 'does not exist'}."
        )
    listing = walk(root)
    entries = [_found(path, root) for path in listing.files]
    for error in listing.unlisted:
        found = _found(as_path(error.filename), root)
        entries.append(dataclasses.replace(found, fault=f"cannot be listed: {error.strerror}"))
    line = left_out_line(kind for path, kind in listing.left_out.items() if path != root / LIBRARY_FILE)
    return SongList(entries, (line,) if line else ())


def _found(path: AnyPath, root: AnyPath) -> Entry:
    relative = below(path, root)
    folders = relative.parts[:-1]
    split = split_name(folders[0]) if folders else ""
    genre, subgenre, *_ = (*(folders[1:] if split else folders), "", "")
    return Entry(path=str(path), song=relative.as_posix(), genre=genre, subgenre=subgenre, split=split)

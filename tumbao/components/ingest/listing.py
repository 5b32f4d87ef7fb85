"""What a library says of its songs, before any is opened; and the plainest library, a folder of genre folders."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tumbao.components.ingest.audio_error import Reason
from tumbao.components.ingest.folders import left_out_line, walk
from tumbao.components.ingest.places import Address, Place, below, is_remote, place
from tumbao.errors import UserError

LIBRARY_FILE = "library.json"
"""A file at the root of a library that describes it; `{"synthetic": true}` marks composed songs."""

SPLIT_NAMES: dict[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""What people call a split → its name in `record.SPLITS`."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One song, or a part of one, as the library lists it.

    Parameters
    ----------
    path : str
        Where the file should lie: absolute, or an address, see `places.SCHEMES`.
    song : str
        Its identifier, the unit of split: the path below the library with forward slashes, unless the library gives
        another. Entries of one song are parts of it.
    genre : str
        As the library spells it; empty where it names none.
    artist : str
        As the library spells it; empty where it names none.
    album : str
        Likewise.
    split : str
        `train`, `val` or `test`; empty where the library has no splits.
    start_seconds : float >= 0 or None
        Where the part begins in the file; None means at its beginning.
    end_seconds : float > 0 or None
        Where it ends; None means at the file's end.
    extras : dict of str to str
        What else the library says, by the names of its columns.
    relative : bool
        The path is written in a list, relative to it: it has to stay in the library, see `is_outside`.
    fault : str
        Why there is nothing to open (a folder that cannot be listed, a row that cannot be used); else empty.
    fault_reason : Reason
        The kind of the fault.
    subgenre : str
        As the library spells it; empty where it names none. Only asked for by `subgenres.scan_leaves`.
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

    Parameters
    ----------
    entries : list of Entry
        Every song, and every fault.
    notes : tuple of str
        Messages about the library, such as how many files are left out.
    """

    entries: list[Entry]
    notes: tuple[str, ...] = ()


def split_name(text: str) -> str:
    """Translate what people call a split.

    Parameters
    ----------
    text : str
        Such as `Validation`.

    Returns
    -------
    split : str
        Its name in `record.SPLITS`, empty if it is no split's.

    Examples
    --------
    >>> [split_name(text) for text in ("Validation", "dev", "salsa")]
    ['val', 'val', '']
    """
    return SPLIT_NAMES.get(text.strip().lower(), "")


def is_outside(entry: Entry, root: Place) -> bool:
    """Tell whether a relative path leads out of the library, through `..` or through a link.

    Parameters
    ----------
    entry : Entry
        What an absolute path or an address names was meant by who wrote it, and is never outside. Nor is a file that
        was found by looking through the folder: its links were laid by the owner of the library.
    root : Place
        The library's folder.

    Returns
    -------
    outside : bool
        True if the file must not be opened.
    """
    if not entry.relative:
        return False
    if isinstance(root, Address):
        return ".." in entry.path[len(root.text) :].split("/")
    real_root = os.path.realpath(root)  # not Path.resolve, which raises where links run in a circle
    return os.path.commonpath((real_root, os.path.realpath(entry.path))) != real_root


def one_path(path: str) -> str:
    """Return one path of a file for all ways to name it: relative, absolute or through a linked folder.

    Parameters
    ----------
    path : str
        As in `Entry`.

    Returns
    -------
    path : str
        Absolute; a file that is itself a link keeps its own.
    """
    if is_remote(path):
        return path
    folder, name = os.path.split(os.path.normpath(path))
    return os.path.join(os.path.realpath(folder), name)  # noqa: PTH118 - Path.resolve raises where links run in a circle


def identifier(path: str, root: Place) -> str:
    """Name a song by its path.

    Parameters
    ----------
    path : str
        As in `Entry`.
    root : Place
        The library's folder.

    Returns
    -------
    song : str
        The path below the library, or the whole path where it lies elsewhere.
    """
    if is_remote(path):
        return path.removeprefix(f"{root}/")
    plain = Path(os.path.normpath(path))
    if isinstance(root, Address):
        return plain.as_posix()
    top = Path(os.path.normpath(root.absolute()))
    if plain.is_relative_to(top):
        return plain.relative_to(top).as_posix()
    real, real_top = Path(one_path(path)), Path(os.path.realpath(top))
    return (real.relative_to(real_top) if real.is_relative_to(real_top) else plain).as_posix()


def invalid_row(file: Place, line: int, fault: str, name: str = "") -> Entry:
    """Make an entry of a row that cannot be used.

    Parameters
    ----------
    file : Place
        The list or table.
    line : int
        Where the row begins, from 1.
    fault : str
        What is wrong with it.
    name : str
        The file's path below the library, if it is not the file's own name.

    Returns
    -------
    entry : Entry
        With the fault.
    """
    return Entry(
        path=f"{file}, line {line}",
        song=f"{name or file.name}, line {line}",
        genre="",
        fault=fault,
        fault_reason=Reason.INVALID_ROW,
    )


def read_folder(folder: Place) -> SongList:
    """List a folder of `<genre>/file` or `<split>/<genre>/file`, with folders of any depth below the genre.

    Parameters
    ----------
    folder : Place
        What is no song by its name is left out, see `folders.left_out_kind`.

    Returns
    -------
    songs : SongList
        Every other file, sorted by path, then the folders that could not be listed, as faults.

    Raises
    ------
    ValueError
        If it is no folder.
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
        found = _found(place(error.filename), root)
        entries.append(dataclasses.replace(found, fault=f"cannot be listed: {error.strerror}"))
    line = left_out_line(kind for path, kind in listing.left_out.items() if path != root / LIBRARY_FILE)
    return SongList(entries, (line,) if line else ())


def _found(path: Place, root: Place) -> Entry:
    relative = below(path, root)
    folders = relative.parts[:-1]
    split = split_name(folders[0]) if folders else ""
    genre, subgenre, *_ = (*(folders[1:] if split else folders), "", "")
    return Entry(path=str(path), song=relative.as_posix(), genre=genre, subgenre=subgenre, split=split)

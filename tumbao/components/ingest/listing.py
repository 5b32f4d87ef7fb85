"""What a library says of its songs, before any is opened; and the plainest library, a folder of genre folders."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from tumbao.components.ingest.folders import walk
from tumbao.components.ingest.places import Address, Place, below, is_remote, place

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
        Why there is nothing to open, as the continuation of the path (a folder that cannot be listed); else empty.
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
    return (plain.relative_to(top) if plain.is_relative_to(top) else plain).as_posix()


def read_folder(folder: Place) -> list[Entry]:
    """List a folder of `<genre>/file` or `<split>/<genre>/file`, with folders of any depth below the genre.

    Parameters
    ----------
    folder : Place
        Hidden files and sidecars (see `folders.SIDECARS`) are left out.

    Returns
    -------
    entries : list of Entry
        Every other file, sorted by path, then the folders that could not be listed, as faults.

    Raises
    ------
    ValueError
        If it is no folder.
    """
    root = folder.absolute()
    if not root.is_dir():
        raise ValueError(
            f"Expected a folder with one folder of songs per genre. Received: {folder}, "
            f"which {'is no folder' if root.exists() else 'does not exist'}."
        )
    listing = walk(root)
    entries = [_found(path, root) for path in listing.files]
    for error in listing.unlisted:
        found = _found(place(error.filename), root)
        entries.append(dataclasses.replace(found, fault=f"cannot be listed: {error.strerror}"))
    return entries


def _found(path: Place, root: Place) -> Entry:
    relative = below(path, root)
    folders = relative.parts[:-1]
    split = split_name(folders[0]) if folders else ""
    genre, subgenre, *_ = (*(folders[1:] if split else folders), "", "")
    return Entry(path=str(path), song=relative.as_posix(), genre=genre, subgenre=subgenre, split=split)

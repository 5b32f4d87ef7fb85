"""A playlist for each genre."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tumbao.components.ingest.tags import artist_and_title
from tumbao.schema.hierarchy import SEPARATOR

Song = tuple[str, str, float]
"""Path, genre and length in seconds."""


def write_playlists(folder: Path, genres: Sequence[str], songs: Iterable[Song]) -> int:
    """Write `<genre>.m3u8` for each genre, whole or not at all; one that is there already is replaced.

    The one of `salsa/dura` is called `salsa - dura.m3u8`, and what memory cards do not allow in a name becomes an
    underscore; genres that are called the same then share a playlist.

    Songs are named by their paths relative to the folder, and shown as artist and title where their tags tell. A path
    that no playlist can spell (it holds an end of line, or bytes that are no UTF-8) is left out.

    Parameters
    ----------
    folder : Path
        Where to; it is made if it is not there.
    genres : sequence of str
        Each gets a playlist, if an empty one.
    songs : iterable of tuple
        See `Song`; in the order in which they are to be played.

    Returns
    -------
    left_out : int
        How many paths could not be spelled.

    Raises
    ------
    OSError
        If a playlist cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = os.path.realpath(folder)
    lists = {_file_name(genre): ["#EXTM3U"] for genre in genres}
    left_out = 0
    for path, genre, seconds in songs:
        name = os.path.relpath(os.path.abspath(path), start)  # noqa: PTH100 - links on the way stay links
        if not _can_be_spelled(name):
            left_out += 1
            continue
        artist, title = artist_and_title(path)
        shown = " - ".join(filter(None, (artist, title))) or Path(path).stem
        lists[_file_name(genre)] += [f"#EXTINF:{round(seconds)},{shown}", f"./{name}" if name.startswith("#") else name]
    for name, lines in lists.items():
        _write(folder / name, "\n".join(lines) + "\n")
    return left_out


def _file_name(genre: str) -> str:
    levels = (level.strip() for level in genre.split(SEPARATOR))
    return re.sub(r'[\x00-\x1f"*:<>?\\|]', "_", " - ".join(levels)) + ".m3u8"


def _can_be_spelled(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return len(name.splitlines()) == 1 and name == name.strip()


def _write(path: Path, content: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(content, encoding="utf-8", newline="\n")
    part.replace(path)

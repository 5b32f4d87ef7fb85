"""One playlist per genre."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.tables import encode_text
from tumbao.components.ingest.tags import artist_and_title
from tumbao.schema.hierarchy import SEPARATOR

Song = tuple[str, str, float]  # path, genre and length in seconds


def write_playlists(folder: Path, genres: Sequence[str], songs: Iterable[Song]) -> dict[str, str]:
    """Write `<genre>.m3u8` for each genre, replacing existing playlists; return paths with why they are left out.

    The playlist of `salsa/dura` is called `salsa - dura.m3u8`. Songs are listed in the given order by their paths
    relative to the folder, on another drive by their whole paths. Players strip whitespace at the ends of lines, so not
    every path can be listed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = os.path.realpath(folder)
    lists = {_file_name(genre): ["#EXTM3U"] for genre in genres}
    left_out: dict[str, str] = {}
    for path, genre, seconds in songs:
        name = os.path.abspath(path)  # noqa: PTH100 - symbolic links are not resolved
        with contextlib.suppress(ValueError):  # another drive of Windows
            name = os.path.relpath(name, start)
        if problem := _path_problem(name):
            left_out[path] = f"cannot be listed in a playlist: its path {problem}; rename it"
            continue
        artist, title = artist_and_title(path)
        shown = " - ".join(filter(None, (artist, title))) or " ".join(Path(path).stem.split())
        apart = "./" if name[0] == "#" or name[0].isspace() else ""  # otherwise a comment, or stripped
        lists[_file_name(genre)] += [f"#EXTINF:{round(seconds)},{shown}", apart + name]
    for name, lines in lists.items():
        write_whole(folder / name, "".join(f"{line}\n" for line in lines).encode())
    return left_out


def _file_name(genre: str) -> str:
    levels = (level.strip() for level in genre.split(SEPARATOR))
    name = encode_text(re.sub(r'[\x00-\x1f"*:<>?\\|]', "_", " - ".join(levels)))
    return f"{name}.m3u8"


def _path_problem(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        return "is not in UTF-8"
    if "\n" in name or "\r" in name:
        return "contains a line break"
    return "ends with a space" if name != name.rstrip() else ""

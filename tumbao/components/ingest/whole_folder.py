"""Folders and files that nobody sees half."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tumbao.components.ingest.places import Address, Place


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Give a folder to fill, which gets its name at the end and is gone after an error.

    Parameters
    ----------
    folder : Path
        Not there by then. Folders above are made.

    Yields
    ------
    half_written : Path
        An empty folder beside it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as beside:
        half_written = Path(beside) / folder.name
        half_written.mkdir()
        yield half_written
        half_written.rename(folder)


def write_whole_folder(folder: Place, texts: Mapping[str, str]) -> None:
    """Write files into a folder; one that is there already is left as it is.

    Parameters
    ----------
    folder : Place
        Where to. A bucket has no folders: there, it is whole once its last file is there.
    texts : mapping of str to str
        Name → what stands in the file.
    """
    last = list(texts)[-1]
    if isinstance(folder, Address):
        if not (folder / last).exists():
            for name, text in texts.items():
                (folder / name).write_bytes(text.encode())
        return
    if not folder.exists():
        with whole(folder) as half_written:
            for name, text in texts.items():
                (half_written / name).write_text(text, "utf-8")


def write_whole(file: Place, content: bytes) -> None:
    """Write a file, in the place of the one that is there.

    Parameters
    ----------
    file : Place
        Where to. Folders above are made. What lies in a bucket is whole by itself.
    content : bytes
        What it is to hold.
    """
    if isinstance(file, Address):
        file.write_bytes(content)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    half_written = file.with_name(f"{file.name}.part")
    half_written.write_bytes(content)
    half_written.replace(file)

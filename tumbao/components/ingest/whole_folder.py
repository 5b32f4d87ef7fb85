"""Write folders and files that other processes see whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
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
                (folder / name).write_bytes(text.encode("utf-8", "backslashreplace"))
        return
    if not folder.exists():
        with whole(folder) as half_written:
            for name, text in texts.items():
                (half_written / name).write_bytes(text.encode("utf-8", "backslashreplace"))


def write_whole(file: Place, content: bytes | Iterable[bytes]) -> None:
    """Write a file, in the place of the one that is there: a reader sees the old one or the new one.

    Parameters
    ----------
    file : Place
        Where to. Folders above are made. A link stays one: the file that it leads to is written. What lies in a bucket
        is whole by itself.
    content : bytes or iterable of bytes
        What it is to hold.

    Raises
    ------
    OSError
        If it cannot be written; it names the file, which is what it was before.
    """
    blocks = [content] if isinstance(content, bytes) else content
    if isinstance(file, Address):
        file.write_bytes(b"".join(blocks))
        return
    real = Path(os.path.realpath(file))
    half_written = real.with_name(f".tumbao-{hashlib.sha256(os.fsencode(real.name)).hexdigest()[:16]}.part")
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        try:
            with half_written.open("wb") as written:
                written.writelines(blocks)
                written.flush()
                os.fsync(written.fileno())
            with contextlib.suppress(FileNotFoundError):
                shutil.copymode(real, half_written)
            half_written.replace(real)
        except BaseException:
            with contextlib.suppress(OSError):
                half_written.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error

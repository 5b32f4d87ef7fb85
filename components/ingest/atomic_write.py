"""Write folders and files atomically: other processes never see them half written."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from tumbao.components.ingest.paths import AnyPath, RemotePath


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Provide an empty temporary folder, which is renamed to `folder` at the end and deleted after an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as beside:
        half_written = Path(beside) / folder.name
        half_written.mkdir()
        yield half_written
        half_written.rename(folder)


def write_whole_folder(folder: AnyPath, texts: Mapping[str, str]) -> None:
    """Write files (name → text) into a new folder; an existing folder is left unchanged.

    A bucket has no folders: there, a folder counts as complete once its last file exists.
    """
    last = list(texts)[-1]
    if isinstance(folder, RemotePath):
        if not (folder / last).exists():
            for name, text in texts.items():
                (folder / name).write_bytes(text.encode("utf-8", "backslashreplace"))
        return
    if not folder.exists():
        with new_folder(folder) as half_written:
            for name, text in texts.items():
                (half_written / name).write_bytes(text.encode("utf-8", "backslashreplace"))


def write_whole(file: AnyPath, content: bytes | Iterable[bytes]) -> None:
    """Write a file or replace it atomically; through a link, the file that it points to.

    Raises OSError, with the file's name, if the file cannot be written; the file is then unchanged.
    """
    blocks = [content] if isinstance(content, bytes) else content
    if isinstance(file, RemotePath):
        file.write_bytes(b"".join(blocks))
        return
    real = Path(os.path.realpath(file))
    half_written = real.with_name(f".tumbao-{uuid.uuid4().hex}.part")  # two processes may write the same file
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

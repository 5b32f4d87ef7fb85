"""Folders for what clients send: gone when the request is, and when a killed server is followed by another."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "tumbao-serve-"


class Scratch:
    """A folder of this server alone.

    It is locked for as long as the server lives, however that ends: what is not locked was left behind, and is removed.

    Parameters
    ----------
    parent : Path or None
        Where to make it; None for the system's folder for temporary files, which TMPDIR names.

    Attributes
    ----------
    folder : Path
        Its own.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        _sweep(parent)
        self.folder, descriptor = _locked_folder(parent)
        self.close = weakref.finalize(self, _remove, self.folder, descriptor)
        """Remove it; also done when the program ends."""

    @contextlib.contextmanager
    def request(self) -> Iterator[Path]:
        """Give a request a folder.

        Yields
        ------
        folder : Path
            Empty; removed afterwards with all that is in it.
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():  # else another server that starts just now took it for left behind
            return folder, descriptor
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or locked, or gone
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _remove(folder: Path, descriptor: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)

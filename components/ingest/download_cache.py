"""Copies of what lies in buckets, made once and kept on this machine."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from tumbao.components.ingest.paths import Place
from tumbao.schema.errors import UserError


def cache_folder() -> Path:
    """Where copies and downloads are kept: $TUMBAO_CACHE, by default ~/.cache/tumbao.

    Returns
    -------
    Path
        The folder, which need not exist. Below `substitute_home` where there is no home to write to.
    """
    if named := os.environ.get("TUMBAO_CACHE"):
        return Path(named)
    home = home_folder()
    cache = (home or substitute_home()) / ".cache" / "tumbao"
    if home is None or cache.is_dir() or os.access(next(one for one in cache.parents if one.is_dir()), os.W_OK):
        return cache
    return substitute_home() / ".cache" / "tumbao"


def home_folder() -> Path | None:
    """Find the user's home.

    Returns
    -------
    Path or None
        None where $HOME names no folder, or is not set for a user whom the system does not know.
    """
    with contextlib.suppress(RuntimeError, OSError):
        home = Path.home()
        return home if home.is_absolute() and home.is_dir() else None
    return None


def substitute_home() -> Path:
    """Name a folder for a user without a home, in the folder for temporary files.

    Returns
    -------
    Path
        The folder, which need not exist.
    """
    return Path(tempfile.gettempdir()) / f"tumbao-{os.getuid()}"


def ensure_home() -> None:
    """Set $HOME to `substitute_home` for a user without a home: other packages fail without it as they are imported.

    Raises
    ------
    UserError
        If the folder cannot be made, or is somebody else's.
    """
    if home_folder() is not None:
        return
    folder = substitute_home()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            raise FileExistsError(errno.EEXIST, "it is somebody else's")
    except OSError as error:
        raise UserError(
            f"Expected a home folder, or {folder} in its place. Received: neither ({error.strerror}). Set HOME to a "
            "folder that you may write to."
        ) from error
    os.environ["HOME"] = str(folder)


def kept(source: Place, name: str) -> Path:
    """Give a file or a folder of this machine that stays.

    Parameters
    ----------
    source : Place
        A path is given back as it is.
    name : str
        Where in the cache a copy is kept; another content has another name. What is there is not fetched again.

    Returns
    -------
    local : Path
        The file or folder, whole.

    Raises
    ------
    OSError
        If an address cannot be read, or the copy cannot be written.
    """
    if isinstance(source, Path):
        return source
    local = cache_folder() / name
    if not local.exists():
        local.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=local.parent, prefix=".") as folder:
            part = Path(folder) / local.name
            source.copy_to(part)
            try:
                part.rename(local)
            except OSError:
                if not local.exists():  # else another process has just kept the same
                    raise
    return local

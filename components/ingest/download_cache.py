"""Local copies of remote files, each fetched once."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path

from tumbao.components.ingest.os_compat import user_id
from tumbao.components.ingest.paths import AnyPath
from tumbao.schema.errors import UserError


def cache_folder() -> Path:
    """Return the folder of copies and downloads: $TUMBAO_CACHE, by default ~/.cache/tumbao."""
    if named := os.environ.get("TUMBAO_CACHE"):
        return Path(named)
    home = home_folder()
    cache = (home or substitute_home()) / ".cache" / "tumbao"
    if home is None or cache.is_dir() or os.access(next(one for one in cache.parents if one.is_dir()), os.W_OK):
        return cache
    return substitute_home() / ".cache" / "tumbao"


def home_folder() -> Path | None:
    """Return the user's home; None if $HOME is not a folder, or is not set and the system does not know the user."""
    with contextlib.suppress(RuntimeError, OSError):
        home = Path.home()
        return home if home.is_absolute() and home.is_dir() else None
    return None


def substitute_home() -> Path:
    """Return a folder in the temporary folder for a user without a home; it need not exist."""
    return Path(tempfile.gettempdir()) / f"tumbao-{user_id()}"


def ensure_home() -> None:
    """Set $HOME to `substitute_home` for a user without a home: other packages need one when they are imported."""
    if home_folder() is not None:
        return
    folder = substitute_home()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != user_id():
            raise FileExistsError(errno.EEXIST, "it belongs to another user")
    except OSError as error:
        raise UserError(
            f"There is no home folder, and {folder} cannot be used instead ({error.strerror}). Set HOME to a "
            "folder that you may write to."
        ) from error
    os.environ["HOME"] = str(folder)


def cached_copy(source: AnyPath, name: str) -> Path:
    """Return a local path of a file or folder, copied into the cache at `name` if the source is remote.

    A cached copy is not fetched again, so other content needs another name.
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
                if not local.exists():  # otherwise another process has just made the same copy
                    raise
    return local

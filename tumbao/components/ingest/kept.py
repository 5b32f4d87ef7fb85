"""Copies of what lies in buckets, made once and kept on this machine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tumbao.components.ingest.places import Place


def cache_folder() -> Path:
    """Where copies and downloads are kept: $TUMBAO_CACHE, by default ~/.cache/tumbao.

    Returns
    -------
    Path
        The folder, which need not exist.
    """
    return Path(os.environ.get("TUMBAO_CACHE") or Path.home() / ".cache" / "tumbao")


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

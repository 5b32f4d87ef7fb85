"""A model that lies in a bucket, copied to this machine once."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tumbao.components.ingest.download_cache import cache_folder, kept
from tumbao.components.ingest.paths import Address, below
from tumbao.serving.model_info import INFO_FILE

SAVED_MODEL_FILE = "saved_model.pb"
"""Makes a folder a version; TFX's Pusher writes it last."""

VERSIONS = 2
"""So many versions of a push place stay in the cache: the newest, and the one that may still be answering."""


def fetched(assets: Address, whole: bool) -> Path:
    """Give a model's files on this machine.

    Parameters
    ----------
    assets : Address
        The folder that holds model.json.
    whole : bool
        With the version's other files above it, if it lies in a version: the SavedModel is nearly half of VGG-16.

    Returns
    -------
    Path
        The same folder in the cache. What is there already is not fetched again: it is told by its address and its
        model.json, which holds the hashes of its files. Of one push place `VERSIONS` stay, those used last.

    Raises
    ------
    OSError
        If the bucket cannot be read, or the cache not be written.
    """
    version = assets.parent
    pushed = (version / SAVED_MODEL_FILE).is_file()
    source = version if pushed and whole else assets
    place = f"{'saved-models' if whole else 'models'}/{_digest((version if pushed else assets).parent.text.encode())}"
    version_of_it = f"{place}/{_digest(source.text.encode() + (assets / INFO_FILE).read_bytes())}"
    above = f"{version.name}/" if source == assets else ""  # the folder's name is the version's
    local = kept(source, f"{version_of_it}/{above}{source.name}")
    os.utime(cache_folder() / version_of_it)
    by_use = sorted((cache_folder() / place).iterdir(), key=lambda one: one.stat().st_mtime_ns)
    for former in by_use[:-VERSIONS]:
        shutil.rmtree(former, ignore_errors=True)
    return local / below(assets, source)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]

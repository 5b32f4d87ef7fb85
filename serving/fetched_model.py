"""Local cache of models in buckets."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tumbao.components.ingest.download_cache import cache_folder, cached_copy
from tumbao.components.ingest.paths import RemotePath, below
from tumbao.serving.model_info import INFO_FILE

SAVED_MODEL_FILE = "saved_model.pb"
"""A folder with this file is a complete version; TFX's Pusher writes it last."""

VERSIONS = 2
"""Versions of a push folder that stay in the cache: the newest, and the one that may still be in use."""


def fetched(assets: RemotePath, whole: bool) -> Path:
    """Download a model's files and return the local folder that corresponds to `assets`.

    With `whole`, the SavedModel of the version is downloaded too; it is nearly half of the size for VGG-16. A model is
    identified by its address and its model.json, which contains the digests of its files; what is cached is not
    downloaded again. For each push folder the `VERSIONS` most recently used versions stay cached.
    """
    version = assets.parent
    pushed = (version / SAVED_MODEL_FILE).is_file()
    source = version if pushed and whole else assets
    place = f"{'saved-models' if whole else 'models'}/{_digest((version if pushed else assets).parent.text.encode())}"
    version_of_it = f"{place}/{_digest(source.text.encode() + (assets / INFO_FILE).read_bytes())}"
    above = f"{version.name}/" if source == assets else ""  # keep the version's folder name
    local = cached_copy(source, f"{version_of_it}/{above}{source.name}")
    os.utime(cache_folder() / version_of_it)
    by_use = sorted((cache_folder() / place).iterdir(), key=lambda one: one.stat().st_mtime_ns)
    for former in by_use[:-VERSIONS]:
        shutil.rmtree(former, ignore_errors=True)
    return local / below(assets, source)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]

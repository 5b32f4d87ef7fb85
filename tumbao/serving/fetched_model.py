"""A model that lies in a bucket, copied to this machine once."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tumbao.components.ingest.kept import kept
from tumbao.components.ingest.places import Address, below
from tumbao.serving.model_info import INFO_FILE

SAVED_MODEL_FILE = "saved_model.pb"
"""Makes a folder a version; TFX's Pusher writes it last."""


def fetched(assets: Address) -> Path:
    """Give a model's files on this machine.

    Parameters
    ----------
    assets : Address
        The folder that holds model.json.

    Returns
    -------
    Path
        The same folder in the cache, with the version's other files above it, if it lies in a version. What is there
        already is not fetched again: it is told by its address and its model.json, which holds the hashes of its files.

    Raises
    ------
    OSError
        If the bucket cannot be read, or the cache not be written.
    """
    version = assets.parent
    source = version if (version / SAVED_MODEL_FILE).is_file() else assets
    digest = hashlib.sha256(source.text.encode() + (assets / INFO_FILE).read_bytes()).hexdigest()[:16]
    return kept(source, f"models/{digest}/{source.name}") / below(assets, source)

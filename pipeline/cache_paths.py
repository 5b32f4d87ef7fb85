"""Location of rendered songs in a workspace."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from tumbao.pipeline.source import source_digest
from tumbao.schema.mel_spec import MelSpec


def song_cache(workspace: str, spec: MelSpec) -> str:
    """Return the folder of rendered songs, which differs for each `MelSpec` and each version of the rendering code."""
    code = source_digest("tumbao.components.ingest.transform")
    settled = json.dumps(dataclasses.asdict(spec))
    return f"{workspace}/songs/{code}/{hashlib.sha256(settled.encode()).hexdigest()[:16]}"

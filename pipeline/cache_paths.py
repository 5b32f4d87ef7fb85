"""Caches of a workspace: rendered songs, and results of earlier scans."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.pipeline.source import source_digest
from tumbao.schema.mel_spec import MelSpec

SCAN_CACHE = "scan_cache.sqlite"


def scan_cache(folder: Path) -> ScanCache:
    """Open the scan cache of a folder; it is created when the first result is stored."""
    return ScanCache(folder / SCAN_CACHE, source_digest("tumbao.components.ingest.decoders"))


def song_cache(workspace: str, spec: MelSpec) -> str:
    """Return the folder of rendered songs, which differs for each `MelSpec` and each version of the rendering code."""
    code = source_digest("tumbao.components.ingest.transform")
    text = json.dumps(dataclasses.asdict(spec))
    return f"{workspace}/songs/{code}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"

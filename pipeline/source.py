"""Digest of the source that a component or a cache depends on; TFX's own cache key does not include it."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from tumbao.components.ingest.paths import is_remote
from tumbao.components.ingest.scan_cache import ScanCache
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.vgg16 import Policy
from tumbao.trainer.weights import WeightsFile

SCAN_CACHE = "scan_cache.sqlite"

_SONGS, _RENDERING = "songs", "tumbao.components.ingest.transform"
_OUTPUTS, _BACKBONE = "backbone_outputs", "tumbao.components.backbone_cache"

_PACKAGE = "tumbao"
_ROOT = Path(__file__).parents[1]


@functools.cache  # loaded code does not change
def source_digest(*modules: str) -> str:
    """Hash the source of modules and of all modules of this package that they import, directly or not."""
    sources: dict[str, bytes] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in sources:
            continue
        file = _file(name)
        if file is None:
            if name in modules:
                raise ValueError(f"Expected a module of {_PACKAGE}. Received: {name!r}")
            continue
        sources[name] = file.read_bytes()
        waiting += _imports(sources[name])
        sources |= {str(one.relative_to(_ROOT)): one.read_bytes() for one in file.parent.glob("*.j2")}
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
    return digest.hexdigest()[:16]


def short_digest(values: object) -> str:
    """Hash values of JSON."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _file(name: str) -> Path | None:
    package, *parts = name.split(".")
    path = _ROOT.joinpath(*parts)
    files = (path.with_suffix(".py"), path / "__init__.py") if package == _PACKAGE else ()
    return next((file for file in files if file.is_file()), None)


def _imports(source: bytes) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def scan_cache(folder: Path) -> ScanCache:
    """Open the scan cache of a folder; it is created when the first result is stored."""
    return ScanCache(folder / SCAN_CACHE, source_digest("tumbao.components.ingest.decoders"))


def backbone_cache(root: str, backbone: Backbone, weights: WeightsFile, policy: Policy) -> str:
    """Return the folder of a backbone's outputs, or an empty name where they are not stored.

    Those of a backbone without weights are computed as fast as they could be read, and a bucket is slow with many small
    files.
    """
    if not backbone.pretrained or is_remote(root):
        return ""
    values = [backbone.name, dataclasses.asdict(backbone.mel_spec), weights.digest, policy]
    return f"{root}/{_OUTPUTS}/{source_digest(_BACKBONE)}/{short_digest(values)}"


def song_cache(workspace: str, spec: MelSpec) -> str:
    """Return the folder of rendered songs, which differs for each `MelSpec` and each version of the rendering code."""
    return f"{workspace}/{_SONGS}/{source_digest(_RENDERING)}/{short_digest(dataclasses.asdict(spec))}"


def outdated_caches(workspace: Path) -> Iterator[Path]:
    """Yield the folders of rendered songs and of backbones' outputs that other versions of the code have written."""
    for folder, module in ((_SONGS, _RENDERING), (_OUTPUTS, _BACKBONE)):
        yield from (one for one in workspace.glob(f"{folder}/*") if one.name != source_digest(module))

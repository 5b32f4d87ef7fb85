"""Backbone features of a whole library, computed once and memory-mapped."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np

from tumbao.components.backbone_cache import BATCH, CachedBackbone
from tumbao.components.ingest import progress
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.vgg16 import Policy


def features(
    library: RenderedLibrary,
    backbone: Backbone,
    weights: Path | None,
    policy: Policy,
    folder: Path,
    *,
    code: str,
    cache: str = "",
    copy: int = 0,
) -> tuple[np.ndarray, str]:
    """Load the features of all fragments, float16 [n, *backbone output shape], or compute them; return their key too.

    `weights` is None for random weights, `code` the hash of the source code, `cache` the folder of single outputs, see
    `CachedBackbone`. `copy` is 0 for the fragments themselves; each higher number is another copy with bands and times
    masked.
    """
    parts = [library.archives, library.members, backbone.name, str(weights), policy, code, copy]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    file = folder / f"{backbone.name}-{key}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        cached = CachedBackbone(backbone, weights, policy, cache)
        _compute(library, cached, f"{backbone.name} features", unfinished, copy)
        unfinished.replace(file)
    return np.load(file, mmap_mode="r"), key


def _compute(library: RenderedLibrary, backbone: CachedBackbone, step: str, file: Path, copy: int) -> None:
    count = len(library.songs)
    progress.start(step, count)
    pngs, written = library.images(), None
    for begin in range(0, count, BATCH):
        outputs = backbone(list(itertools.islice(pngs, BATCH)), copy)
        if written is None:
            shape = (count, *outputs.shape[1:])
            written = np.lib.format.open_memmap(file, mode="w+", dtype=outputs.dtype, shape=shape)
        written[begin : begin + BATCH] = outputs
        progress.advance(step, len(outputs))
    if written is not None:
        written.flush()

"""Backbone features of a whole library, memory-mapped."""

from __future__ import annotations

import itertools
import tempfile
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
    *,
    cache: str = "",
    copies: int = 0,
    folder: Path | None = None,
) -> list[np.ndarray]:
    """Return the features of all fragments, float16 [n, *backbone output shape], and of `copies` masked copies of them.

    `weights` is None for random weights, `cache` the folder of single outputs, see `CachedBackbone`. The arrays are
    mapped to unnamed files in `folder` (by default the folder for temporary files), whose space is free again when the
    process ends.
    """
    cached, step = CachedBackbone(backbone, weights, policy, cache), f"{backbone.name} features"
    progress.start(step, len(library.songs) * (1 + copies))
    return [_features(library, cached, copy, step, folder) for copy in range(1 + copies)]


def _features(
    library: RenderedLibrary, backbone: CachedBackbone, copy: int, step: str, folder: Path | None
) -> np.ndarray:
    pngs, array, begin = library.images(), np.empty(0), 0
    while batch := list(itertools.islice(pngs, BATCH)):
        outputs = backbone(batch, copy)
        if not begin:
            with tempfile.TemporaryFile(dir=folder) as file:
                array = np.memmap(file, outputs.dtype, "w+", shape=(len(library.songs), *outputs.shape[1:]))
        array[begin : begin + len(batch)] = outputs
        begin += len(batch)
        progress.advance(step, len(batch))
    return array

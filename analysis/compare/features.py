"""Backbone features of a whole library, computed once and memory-mapped."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from tumbao.components.ingest import progress
from tumbao.components.ingest.records import BACKBONE_DTYPE, decode_image
from tumbao.components.ingest.rendered_library import RenderedLibrary
from tumbao.schema.mel_spec import MelSpec
from tumbao.trainer.augment import mask_seed, spec_augment
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.vgg16 import Policy

BATCH = 8
"""Images per call of the backbone."""


def features(
    library: RenderedLibrary,
    backbone: Backbone,
    weights: Path | None,
    policy: Policy,
    folder: Path,
    *,
    code: str,
    copy: int = 0,
) -> tuple[np.ndarray, str]:
    """Load the features of all fragments, float16 [n, *backbone output shape], or compute them; return their key too.

    `weights` is None for random weights, `code` the hash of the source code. `copy` is 0 for the fragments themselves;
    each higher number is another copy with bands and times masked.
    """
    parts = [library.archives, library.members, backbone.name, str(weights), policy, code, copy]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    file = folder / f"{backbone.name}-{key}.npy"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        _compute(library, backbone, weights, policy, unfinished, copy)
        unfinished.replace(file)
    return np.load(file, mmap_mode="r"), key


def _compute(
    library: RenderedLibrary, backbone: Backbone, weights: Path | None, policy: Policy, file: Path, copy: int
) -> None:
    model = backbone.build(weights, policy)
    infer = tf.function(lambda images: model(images, training=False))
    count = len(library.songs)
    progress.start(f"{backbone.name} features", count)
    shape = (count, *model.output_shape[1:])
    written = np.lib.format.open_memmap(file, mode="w+", dtype=BACKBONE_DTYPE, shape=shape)
    pngs = library.images()
    for begin in range(0, count, BATCH):
        batch = [_image(png, backbone.mel_spec, copy) for png in itertools.islice(pngs, BATCH)]
        written[begin : begin + BATCH] = infer(np.stack(batch)).numpy().astype(BACKBONE_DTYPE)
        progress.advance(f"{backbone.name} features", len(batch))
    written.flush()


def _image(png: bytes, spec: MelSpec, copy: int) -> tf.Tensor:
    image = decode_image(png)
    return spec_augment(image, mask_seed(png, copy), spec) if copy else image

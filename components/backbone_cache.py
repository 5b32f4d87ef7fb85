"""Outputs of a frozen backbone, each computed once for an image, whichever step or command asks for it."""

from __future__ import annotations

import functools
import hashlib
import uuid
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tumbao.components.ingest.records import BACKBONE_DTYPE, decode_image
from tumbao.trainer.augment import spec_augment
from tumbao.trainer.backbones import Backbone
from tumbao.trainer.vgg16 import Policy

BATCH = 8
"""Images in one call of a backbone; larger batches are not faster on a CPU."""


class CachedBackbone:
    """A frozen backbone whose outputs are stored in a folder, one file for each image and masked copy.

    `weights` is None for random weights or none. `folder` must differ for each backbone, its weights, policy and code;
    without one, nothing is stored.
    """

    def __init__(self, backbone: Backbone, weights: Path | None, policy: Policy, folder: str = "") -> None:
        self._backbone, self._weights, self._policy, self._folder = backbone, weights, policy, folder

    def __call__(self, pngs: Sequence[bytes], copy: int = 0) -> np.ndarray:
        """Compute the outputs float16 [n, *shape] of mel images (PNG) that are not stored yet, and read the others.

        `copy` is 0 for the images themselves; each higher number is another copy with bands and times masked.
        """
        files = [self._file(png, copy) for png in pngs]
        outputs = [_read(file) for file in files]
        missing = [index for index, output in enumerate(outputs) if output is None]
        if missing:
            images = np.stack([self._image(pngs[index], copy) for index in missing])
            for index, output in zip(missing, self._infer(images).numpy().astype(BACKBONE_DTYPE), strict=True):
                outputs[index] = output
                _write(files[index], output)
        return np.stack([output for output in outputs if output is not None])

    @functools.cached_property
    def _infer(self) -> Callable[[np.ndarray], tf.Tensor]:
        model = self._backbone.build(self._weights, self._policy)
        images = tf.TensorSpec([None, *self._backbone.mel_spec.image_shape], tf.uint8)
        return tf.function(lambda images: tf.cast(model(images, training=False), tf.float32), [images])

    def _image(self, png: bytes, copy: int) -> np.ndarray:
        image, spec = decode_image(png), self._backbone.mel_spec
        return spec_augment(image, zlib.crc32(png, copy), spec).numpy() if copy else image

    def _file(self, png: bytes, copy: int) -> Path | None:
        name = hashlib.sha256(png).hexdigest()[:32]
        return Path(self._folder, name[:2], f"{name}-{copy}.npy") if self._folder else None


def _read(file: Path | None) -> np.ndarray | None:
    """Read a stored output; None if there is none, or an incomplete one."""
    try:
        return np.load(file) if file else None
    except (FileNotFoundError, EOFError, ValueError):
        return None


def _write(file: Path | None, output: np.ndarray) -> None:
    """Store an output; another process may store the same one."""
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{uuid.uuid4().hex}.unfinished")
    with unfinished.open("wb") as opened:
        np.save(opened, output)
    unfinished.replace(file)

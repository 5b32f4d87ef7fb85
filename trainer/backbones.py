"""The frozen backbones of the models: mel image → features, computed once and cached."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.trainer.colormap_inverse import levels
from tumbao.trainer.descriptors import descriptors
from tumbao.trainer.lazy import keras
from tumbao.trainer.musicnn import ensure_musicnn, musicnn
from tumbao.trainer.rhythm import rhythm
from tumbao.trainer.vgg16 import Policy, up_to, vgg16_backbone, with_average_pooling
from tumbao.trainer.weights import WeightsFile, ensure_vgg16


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A frozen backbone; `pretrained` is the name of its pretrained weights, empty where it has none.

    `build` makes the model of the file of its weights (None for seeded random ones) and the dtype policy: images of
    `mel_spec` [n, height, width, 3], RGB in 0..255 → features float32 [n, ...].
    """

    name: str
    mel_spec: MelSpec
    build: Callable[[Path | None, Policy], keras.Model]
    pretrained: Literal["vgg16", "musicnn", ""] = ""

    def ensure_weights(self, explicit: str | None) -> WeightsFile:
        """Find the weights, downloading them once if needed, with progress reports.

        `explicit` is the only file to use, or "random" for seeded random weights; None searches for the pretrained
        ones. The result has no file where the backbone has no weights. Raises WeightsError if none are found.
        """
        if self.pretrained == "vgg16":
            return ensure_vgg16(explicit)
        if self.pretrained == "musicnn":
            return ensure_musicnn(explicit)
        return WeightsFile(None, f"none: {self.name} has none", None)


POOLED_FRAMES = 4
"""Number of fine mel frames that are averaged into one of 64 ms."""


def _fine_levels(weights_file: Path | None, policy: Policy) -> keras.Model:
    fine = levels(FINE)
    frames = keras.layers.AveragePooling1D(POOLED_FRAMES, name="pool")(fine.output)
    return keras.Model(fine.input, frames, name="fine_levels")


def _tagged(weights_file: Path | None, policy: Policy) -> keras.Model:
    images = keras.Input(FINE.image_shape, dtype="float32", name="image")
    parts = [_fine_levels(None, policy)(images), descriptors()(images), musicnn(weights_file)(images)]
    flat = [keras.layers.Flatten(name=f"flatten_{index}")(part) for index, part in enumerate(parts)]
    return keras.Model(images, keras.layers.Concatenate(name="concatenate")(flat), name="tagged")


VGG16 = Backbone("vgg16", MelSpec(), vgg16_backbone, "vgg16")
VGG16_AVG = Backbone(
    "vgg16-avg", MelSpec(), lambda file, policy: with_average_pooling(vgg16_backbone(file, policy)), "vgg16"
)
VGG16_BLOCK4 = Backbone(
    "vgg16-block4", MelSpec(), lambda file, policy: up_to(vgg16_backbone(file, policy), "block4_pool"), "vgg16"
)
LEVELS = Backbone("levels", MelSpec(), lambda file, policy: levels(MelSpec()))
FINE_LEVELS = Backbone("fine-levels", FINE, _fine_levels)
DESCRIPTORS = Backbone("descriptors", FINE, lambda file, policy: descriptors())
RHYTHM = Backbone("rhythm", FINE, lambda file, policy: rhythm())
MUSICNN = Backbone("musicnn", FINE, lambda file, policy: musicnn(file), "musicnn")
TAGGED = Backbone("tagged", FINE, _tagged, "musicnn")
"""The outputs of `FINE_LEVELS`, `DESCRIPTORS` and `MUSICNN`, concatenated in this order."""

BACKBONES = {
    backbone.name: backbone
    for backbone in (VGG16, VGG16_AVG, VGG16_BLOCK4, LEVELS, FINE_LEVELS, DESCRIPTORS, RHYTHM, MUSICNN, TAGGED)
}
"""All backbones by name."""

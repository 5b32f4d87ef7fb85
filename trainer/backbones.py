"""The frozen backbones of the models: mel image → features, computed once and cached."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tumbao.components.ingest import progress
from tumbao.schema.mel_spec import FINE, MelSpec
from tumbao.trainer.vgg16 import Policy

if TYPE_CHECKING:
    import keras

    from tumbao.trainer.weights import WeightsFile


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A frozen backbone.

    Parameters
    ----------
    name : str
        Name of the backbone.
    mel_spec : MelSpec
        Parameters of its input images.
    build : callable
        File of its weights (None for seeded random ones) and dtype policy → keras.Model: images
        [n, height, width, 3], RGB in 0..255, to features float32 [n, ...].
    pretrained : str
        Name of its pretrained weights; empty where it has none.
    """

    name: str
    mel_spec: MelSpec
    build: Callable[[Path | None, Policy], keras.Model]
    pretrained: Literal["vgg16", "musicnn", ""] = ""

    def ensure_weights(self, explicit: str | None) -> WeightsFile:
        """Find the weights, downloading them once if needed, with progress reports.

        Parameters
        ----------
        explicit : str or None
            The only file to use; "random" for seeded random weights; None to search for the pretrained ones.

        Returns
        -------
        WeightsFile
            The weights; without a file where the backbone has none.

        Raises
        ------
        WeightsError
            If there is no way to get them.
        """
        from tumbao.trainer.weights import WeightsFile, ensure_vgg16

        if self.pretrained == "vgg16":
            return ensure_vgg16(explicit, _megabytes)
        if self.pretrained == "musicnn":
            from tumbao.trainer.musicnn import ensure_musicnn

            return ensure_musicnn(explicit, _megabytes)
        return WeightsFile(None, f"none: {self.name} has none", None)


def _megabytes(label: str, done: int, total: int) -> None:
    progress.report(f"{label}, MB", done // 1_000_000, total // 1_000_000)


def _vgg16(weights_file: Path | None, policy: Policy) -> keras.Model:
    from tumbao.trainer.vgg16 import vgg16_backbone

    return vgg16_backbone(weights_file, policy)


def _vgg16_avg(weights_file: Path | None, policy: Policy) -> keras.Model:
    from tumbao.trainer.vgg16 import vgg16_backbone, with_average_pooling

    return with_average_pooling(vgg16_backbone(weights_file, policy))


def _vgg16_block4(weights_file: Path | None, policy: Policy) -> keras.Model:
    from tumbao.trainer.vgg16 import up_to, vgg16_backbone

    return up_to(vgg16_backbone(weights_file, policy), "block4_pool")


def _levels(weights_file: Path | None, policy: Policy) -> keras.Model:
    from tumbao.trainer.colormap_inverse import levels

    return levels(MelSpec())


def _fine_levels(weights_file: Path | None, policy: Policy) -> keras.Model:
    import keras

    from tumbao.trainer.colormap_inverse import levels

    fine = levels(FINE)
    frames = keras.layers.AveragePooling1D(POOLED_FRAMES, name="pool")(fine.output)
    return keras.Model(fine.input, frames, name="fine_levels")


def _descriptors(weights_file: Path | None, policy: Policy) -> keras.Model:
    from tumbao.trainer.descriptors import descriptors

    return descriptors(FINE)


def _musicnn(weights_file: Path | None, policy: Policy) -> keras.Model:
    from tumbao.trainer.musicnn import musicnn

    return musicnn(weights_file)


def _tagged(weights_file: Path | None, policy: Policy) -> keras.Model:
    import keras

    images = keras.Input(FINE.image_shape, dtype="float32", name="image")
    backbones = ((FINE_LEVELS, None), (DESCRIPTORS, None), (MUSICNN, weights_file))
    parts = [backbone.build(file, policy)(images) for backbone, file in backbones]
    flat = [keras.layers.Flatten(name=f"flatten_{index}")(part) for index, part in enumerate(parts)]
    return keras.Model(images, keras.layers.Concatenate(name="concatenate")(flat), name="tagged")


POOLED_FRAMES = 4
"""Number of fine mel frames that are averaged into one of 64 ms."""

VGG16 = Backbone("vgg16", MelSpec(), _vgg16, "vgg16")
VGG16_AVG = Backbone("vgg16-avg", MelSpec(), _vgg16_avg, "vgg16")
VGG16_BLOCK4 = Backbone("vgg16-block4", MelSpec(), _vgg16_block4, "vgg16")
LEVELS = Backbone("levels", MelSpec(), _levels)
FINE_LEVELS = Backbone("fine-levels", FINE, _fine_levels)
DESCRIPTORS = Backbone("descriptors", FINE, _descriptors)
MUSICNN = Backbone("musicnn", FINE, _musicnn, "musicnn")
TAGGED = Backbone("tagged", FINE, _tagged, "musicnn")
"""The outputs of `FINE_LEVELS`, `DESCRIPTORS` and `MUSICNN`, concatenated in this order."""

BACKBONES = {
    backbone.name: backbone
    for backbone in (VGG16, VGG16_AVG, VGG16_BLOCK4, LEVELS, FINE_LEVELS, DESCRIPTORS, MUSICNN, TAGGED)
}
"""All backbones by name."""

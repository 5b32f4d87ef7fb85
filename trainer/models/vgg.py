"""Models on VGG-16, a frozen backbone pretrained on photographs (Simonyan & Zisserman 2015).

`vgg16` is the paper's network: 35,982,021 parameters, 21,267,333 of them trained. `vgg16-avg` is the same with average
pooling in the backbone, which according to Ghosal & Kolekar is better on spectrograms, in a network of their own.
`vgg16-gap` is ours: each of the 512 feature maps is averaged over the image, so that its head has 33,157 parameters.
With `fine_tune` the backbone ends after its fourth block, and the fifth (7,079,424 parameters) is part of the head.
"""

from __future__ import annotations

from tumbao.trainer.backbones import VGG16, VGG16_AVG, VGG16_BLOCK4
from tumbao.trainer.lazy import keras
from tumbao.trainer.model import dense_head, dense_layers, features_input
from tumbao.trainer.models.spec import Head, ModelSpec
from tumbao.trainer.training import Training


def _averaged(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build a head that averages each feature map over the image."""
    pool = keras.layers.GlobalAveragePooling2D(name="average")
    return keras.Sequential([features_input(shape), pool, *dense_layers(genres, training)], name="head")


def _tuned(top: Head) -> Head:
    """Prepend VGG-16's last block, frozen at first, to a head."""

    def build(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
        height, width, channels = shape
        block = [
            keras.layers.Conv2D(
                channels, 3, padding="same", activation="relu", trainable=False, name=f"block5_conv{conv}"
            )
            for conv in (1, 2, 3)
        ]
        pool = keras.layers.MaxPooling2D(2, 2, name="block5_pool")
        above = top((height // 2, width // 2, channels), genres, training)
        return keras.Sequential([features_input(shape), *block, pool, *above.layers], name="head")

    return build


VGG16_SPEC = ModelSpec(
    name="vgg16",
    after="Abondano & Salazar",
    summary="the paper's network: VGG-16 with ImageNet weights, dense layers of 512 and 64",
    backbone=VGG16,
    head=dense_head,
    tuned_backbone=VGG16_BLOCK4,
    tuned_head=_tuned(dense_head),
)
VGG16_AVG_SPEC = ModelSpec(
    name="vgg16-avg",
    after="Ghosal & Kolekar's remark on pooling",
    summary="the paper's network with average pooling in place of max pooling",
    backbone=VGG16_AVG,
    head=dense_head,
)
VGG16_GAP_SPEC = ModelSpec(
    name="vgg16-gap",
    after="Tumbao",
    summary="VGG-16, its feature maps averaged, and a small dense layer",
    backbone=VGG16,
    head=_averaged,
    training={"units": (64,), "epochs": 60, "patience": 15, "dropout": 0.3},
    tuned_backbone=VGG16_BLOCK4,
    tuned_head=_tuned(_averaged),
)

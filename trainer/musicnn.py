"""The musicnn backbone: the network up to its pooling, frozen, pretrained on tagged music, after Pons & Serra.

"musicnn: pre-trained convolutional neural networks for music audio tagging", 2019. Filters as tall as 0.4 and 0.7 of
the spectrum capture timbre, filters as long as 0.5, 1 and 2 s capture rhythm; three convolutions over time follow, the
last two residual; and over each window of 3 s the mean and the maximum of all channels are taken. These are the
features: they separate genres better than the 200 outputs of the dense layer that follows, which serves the tagger's 50
tags, so the network ends before it. Only living filters are included, see `trainer.musicnn_weights`; the network has
101,360 weights.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tumbao.schema.mel_spec import FINE
from tumbao.trainer import musicnn_weights
from tumbao.trainer.colormap_inverse import levels
from tumbao.trainer.musicnn_weights import CHANNELS, FRONT, MID

if TYPE_CHECKING:
    import keras

WINDOW_FRAMES = 187
"""Input frames of musicnn, 3 s."""

WINDOWS = FINE.frames // WINDOW_FRAMES
"""Windows of a fragment, side by side; the 6 frames after the last one are not used."""

FEATURES = 2 * (1 + len(MID)) * CHANNELS
"""Features of each window: the means of all channels, then their maxima."""

REFERENCE_POWER = 100.0
"""Mel power assumed for the fragment's maximum, which is not stored in the image."""


def musicnn(weights_file: Path | None) -> keras.Model:
    """Build the backbone, with every weight frozen.

    Images [n, 96, 1876, 3] rendered with `FINE`, RGB, uint8 or float in 0..255 → features float32 [n, 10, 512]: by
    window, the means over time of 256 channels (64 of the front-end, then 64 of each convolution over time), then their
    maxima. `weights_file` None gives seeded random weights.
    """
    import keras
    from keras import ops

    tensors = musicnn_weights.random_tensors() if weights_file is None else musicnn_weights.read_tensors(weights_file)
    images = keras.Input(FINE.image_shape, dtype="float32", name="image")
    frames = log_mel(levels(FINE)(images))[:, : WINDOWS * WINDOW_FRAMES]
    channels = _channels(ops.reshape(frames, (-1, WINDOW_FRAMES, FINE.mel_bands, 1)))
    pooled = ops.concatenate([ops.mean(channels, axis=1), ops.max(channels, axis=1)], axis=-1)
    model = keras.Model(images, ops.reshape(pooled, (-1, WINDOWS, FEATURES)), name="musicnn")
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.BatchNormalization)):
            layer.set_weights([tensors[f"{layer.name}/{variable.name}"] for variable in layer.weights])
    model.trainable = False
    return model


def log_mel(frames: Any) -> Any:
    """Convert an image's levels to musicnn's input, log10(1 + 10,000 · mel power), both float32 [n, frames, bands].

    Levels are from 0 (80 dB below the fragment's maximum) to 1 (the maximum), the output from 0.004 to 6.

    musicnn's input depends on the loudness, and the image does not contain it: its maximum is always taken for
    `REFERENCE_POWER`. Maximum and mean square of the demo library's fragments are 2,300 to 1, so that 100 corresponds
    to 14 dB below full scale, a usual level of mastered records, on which musicnn was trained; the fragments themselves
    have 11 to 110. Measured there on MSD_musicnn: with each fragment's true maximum, colours instead of numbers move
    the features by 2 % of their spread over fragments, and change no most likely tag. With 100 for all, they move by
    1.2 spreads and the most likely tag changes in 18 % of the windows (30 for all, the demo library's own level: 0.3
    and 9 %; 400: 3.7 and 39 %), but all in the same way: trained on one song of each genre, logistic regression is
    correct on 97 % of the other songs' fragments, and on 96 % with the true levels.
    """
    from keras import ops

    per_level = FINE.dynamic_range_db / 10 * math.log(10)
    power = per_level * (frames - 1) + math.log(10_000 * REFERENCE_POWER)  # its natural logarithm
    # log(1 + exp(power)) without large numbers in between, which a quantized model could not hold
    return (ops.relu(power) + ops.log(1 + ops.exp(-ops.abs(power)))) / math.log(10)


def _channels(windows: Any) -> Any:
    """Windows [n, 187, 96, 1] → all channels [n, 187, 256]."""
    import keras
    from keras import ops

    spectrum = _norm("input_norm")(windows)
    padded = keras.layers.ZeroPadding2D(((3, 3), (0, 0)), name="timbral_pad")(spectrum)
    found = []
    for name, (length, height, filters) in FRONT.items():
        inputs, padding = (padded, "valid") if name.startswith("timbral") else (spectrum, "same")
        conv = keras.layers.Conv2D(filters, (length, height), padding=padding, activation="relu", name=name)
        found.append(ops.max(_norm(f"{name}_norm")(conv(inputs)), axis=2))
    channels = [ops.concatenate(found, axis=-1)]
    for name in MID:
        conv = keras.layers.Conv1D(CHANNELS, 7, padding="same", activation="relu", name=name)
        outputs = _norm(f"{name}_norm")(conv(channels[-1]))
        channels.append(outputs if name == MID[0] else outputs + channels[-1])
    return ops.concatenate(channels, axis=-1)


def _norm(name: str) -> keras.layers.Layer:
    import keras

    return keras.layers.BatchNormalization(epsilon=1e-3, name=name)

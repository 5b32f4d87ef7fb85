"""Models on the mel frames, without a pretrained backbone.

`lstm` and `lstm-attention` follow Irvin, Chartock & Hollander, who classify the ten genres of GTZAN by an LSTM over the
frames, and by attention over its outputs; here the frames are those of the mel image, 0.1 s each, and the sizes are
ours. `cnn` follows Krishna et al., a plain stack of convolutions and pools over the mel image with a dense layer; the
paper does not specify widths. `fcn` follows Choi, Fazekas & Sandler: convolutions and pools until one value a channel
is left, no dense layer but the last; unlike theirs it has a quarter of the channels, a softmax in place of the tags'
sigmoids, and frames of 64 ms at 16 kHz in place of 21 ms at 12 kHz. `crnn` is ours, after Choi et al. 2017: a few
convolutions over the fine frames, followed by a GRU. On validation songs it is among the best, and it is the smallest
of these (docs/models.md).

Parameters for five genres, all trained except the input scales: `lstm` 270,581, `lstm-attention` 274,806, `cnn`
66,437, `fcn` 640,165 (3 layers 196,453, 5 layers 1,231,013, 6 layers 1,821,861, 7 layers 2,412,709), `crnn` 86,165.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tumbao.trainer.backbones import FINE_LEVELS, LEVELS
from tumbao.trainer.lazy import keras
from tumbao.trainer.model import dense_layers, features_input
from tumbao.trainer.models.spec import Head, ModelSpec
from tumbao.trainer.training import Training

PATIENT: dict[str, Any] = {"epochs": 40, "patience": 10, "batch": 16, "units": (), "dropout": 0.3}
"""Settings of networks that are trained from scratch."""

MOMENTUM = 0.9
"""Momentum of batch normalisation: a small library has few steps in an epoch."""

FCN_POOLS: dict[int, Sequence[tuple[int, int]]] = {
    3: ((5, 4), (8, 6), (11, 4)),
    4: ((3, 2), (4, 4), (5, 3), (7, 4)),
    5: ((3, 2), (3, 2), (3, 2), (4, 3), (4, 4)),
    6: ((3, 2), (3, 2), (3, 2), (4, 3), (4, 4), (1, 1)),
    7: ((3, 2), (3, 2), (3, 2), (4, 3), (4, 4), (1, 1), (1, 1)),
}
"""Pool sizes (frames, bands) of each layer by number of layers; layers after the fifth pool nothing."""

FCN_CHANNELS = (32, 96, 192, 256, 256, 256, 256)


def _normalised(shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Return the input, and it normalised to zero mean and unit variance."""
    inputs = features_input(shape)
    return inputs, keras.layers.BatchNormalization(momentum=MOMENTUM, name="scale")(inputs)


def _classified(inputs: Any, outputs: Any, genres: int, training: Training) -> keras.Model:
    if training.dropout:
        outputs = keras.layers.Dropout(training.dropout, seed=training.seed)(outputs)
    for layer in dense_layers(genres, training):
        outputs = layer(outputs)
    return keras.Model(inputs, outputs, name="head")


def _convolved(inputs: Any, channels: int, pool: tuple[int, int]) -> Any:
    """Convolve 3×3 in time and bands, normalise, rectify and pool."""
    outputs = keras.layers.Conv2D(channels, 3, padding="same", use_bias=False)(inputs)
    outputs = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=MOMENTUM)(outputs))
    return keras.layers.MaxPooling2D(pool)(outputs)


def _lstm(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build two LSTM layers; the last state of the second one is classified."""
    inputs, outputs = _normalised(shape)
    outputs = keras.layers.LSTM(128, return_sequences=True, name="lstm_1")(outputs)
    return _classified(inputs, keras.layers.LSTM(64, name="lstm_2")(outputs), genres, training)


def _lstm_attention(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build two LSTM layers with attention over time."""
    inputs, outputs = _normalised(shape)
    outputs = keras.layers.LSTM(128, return_sequences=True, name="lstm_1")(outputs)
    outputs = keras.layers.LSTM(64, return_sequences=True, name="lstm_2")(outputs)
    scores = keras.layers.Dense(1, name="score")(keras.layers.Dense(64, "tanh", name="attend")(outputs))
    weights = keras.layers.Softmax(axis=1, name="attention")(scores)
    return _classified(inputs, keras.ops.sum(weights * outputs, axis=1), genres, training)


def _cnn(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build four convolutions and a dense layer over the mel image."""
    inputs, outputs = _normalised(shape)
    outputs = keras.layers.AveragePooling2D(2)(keras.ops.expand_dims(outputs, -1))
    for channels in (16, 32, 64, 64):
        outputs = _convolved(outputs, channels, (3, 3))
    return _classified(inputs, keras.layers.Flatten()(outputs), genres, training)


def _fcn(layers: int) -> Head:
    """Return the builder of a fully convolutional network with a number of layers."""

    def build(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
        inputs, outputs = _normalised(shape)
        outputs = keras.ops.expand_dims(outputs, -1)
        for channels, pool in zip(FCN_CHANNELS, FCN_POOLS[layers], strict=False):
            outputs = _convolved(outputs, channels, pool)
        return _classified(inputs, keras.layers.GlobalMaxPooling2D(name="all")(outputs), genres, training)

    return build


def _crnn(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build three convolutions over the fine frames, followed by a GRU."""
    inputs, outputs = _normalised(shape)
    outputs = keras.ops.expand_dims(outputs, -1)
    for channels, pool in ((16, (2, 2)), (32, (2, 3)), (64, (4, 4))):
        outputs = _convolved(outputs, channels, pool)
    frames = keras.layers.Reshape((outputs.shape[1], -1))(outputs)
    return _classified(inputs, keras.layers.GRU(64, name="gru")(frames), genres, training)


LSTM = ModelSpec(
    name="lstm",
    after="Irvin, Chartock & Hollander",
    summary="two layers of LSTM over the mel frames",
    backbone=LEVELS,
    head=_lstm,
    training=PATIENT,
    precisions=("float16", "dynamic"),
)
LSTM_ATTENTION = ModelSpec(
    name="lstm-attention",
    after="Irvin, Chartock & Hollander",
    summary="two layers of LSTM over the mel frames, attention over time",
    backbone=LEVELS,
    head=_lstm_attention,
    training=PATIENT,
    precisions=("float16", "dynamic"),
)
CNN = ModelSpec(
    name="cnn",
    after="Krishna et al.",
    summary="four convolutions over the mel image",
    backbone=LEVELS,
    head=_cnn,
    training={**PATIENT, "units": (64,)},
)
FCN = tuple(
    ModelSpec(
        name="fcn" if layers == 4 else f"fcn-{layers}",
        after="Choi, Fazekas & Sandler",
        summary=f"fully convolutional over fine mel frames, {layers} layers",
        backbone=FINE_LEVELS,
        head=_fcn(layers),
        option_of="" if layers == 4 else "fcn",
        training=PATIENT,
    )
    for layers in (4, 3, 5, 6, 7)
)
CRNN = ModelSpec(
    name="crnn",
    after="Tumbao, after Choi et al.",
    summary="three convolutions over fine mel frames and a GRU",
    backbone=FINE_LEVELS,
    head=_crnn,
    training=PATIENT,
)

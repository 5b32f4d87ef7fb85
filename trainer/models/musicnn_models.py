"""Models on musicnn, a frozen backbone pretrained on tagged music (Pons & Serra 2019).

`musicnn` is that backbone alone with a small head. `cnn-lstm` follows Ghosal & Kolekar, who put a CNN and an LSTM over
spectral and rhythmic features of GTZAN's songs and combine them with transfer from a music tagger; the paper does not
specify the tagger, the combination and the sizes. Here the mel frames go through convolutions and an LSTM, descriptors
of rhythm and spectrum are concatenated before its softmax, and its probabilities are averaged with those of the
tagger's head.

Parameters for five genres, of them trained: `musicnn` 171,381 and 67,973, `cnn-lstm` 244,185 and 140,251. The backbone
has 101,360 of them: only the filters of musicnn that are not zero, see `trainer.musicnn`.
"""

from __future__ import annotations

from tumbao.schema.mel_spec import FINE
from tumbao.trainer.backbones import MUSICNN, POOLED_FRAMES, TAGGED
from tumbao.trainer.lazy import keras
from tumbao.trainer.model import dense_layers, features_input
from tumbao.trainer.models.spec import ModelSpec
from tumbao.trainer.models.spectrogram_nets import MOMENTUM
from tumbao.trainer.training import Training


def _tagger(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build dense layers over the mean and the standard deviation of the tagger's windows."""
    inputs = features_input(shape)
    outputs = _over_windows(inputs)
    for layer in dense_layers(genres, training):
        outputs = layer(outputs)
    return keras.Model(inputs, outputs, name="head")


def _over_windows(windows: keras.KerasTensor) -> keras.KerasTensor:
    summary = keras.ops.concatenate([keras.ops.mean(windows, axis=1), keras.ops.std(windows, axis=1)], axis=-1)
    return keras.layers.BatchNormalization(momentum=MOMENTUM, name="scale_windows")(summary)


def _ensemble(shape: tuple[int, ...], genres: int, training: Training) -> keras.Model:
    """Build the CNN-LSTM with descriptors and the tagger's head, and average their probabilities."""
    from tumbao.trainer.descriptors import descriptor_names
    from tumbao.trainer.musicnn import WINDOWS

    inputs = features_input(shape)
    pooled, columns = FINE.frames // POOLED_FRAMES, len(descriptor_names())
    first, second = pooled * FINE.mel_bands, pooled * FINE.mel_bands + columns
    frames = keras.layers.Reshape((pooled, FINE.mel_bands))(inputs[:, :first])
    described = inputs[:, first:second]
    windows = keras.layers.Reshape((WINDOWS, -1))(inputs[:, second:])
    sound = keras.ops.expand_dims(keras.layers.BatchNormalization(momentum=MOMENTUM, name="scale_frames")(frames), -1)
    for channels in (16, 32):
        sound = keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(sound)
        sound = keras.layers.MaxPooling2D((3, 4))(sound)
    sound = keras.layers.LSTM(64, name="lstm")(keras.layers.Reshape((sound.shape[1], -1))(sound))
    described = keras.layers.BatchNormalization(momentum=MOMENTUM, name="scale_descriptors")(described)
    sound = keras.layers.Dropout(training.dropout, seed=training.seed)(keras.ops.concatenate([sound, described], -1))
    own = keras.layers.Dense(genres, "softmax", name="sound")(sound)
    transferred = _over_windows(windows)
    for layer in dense_layers(genres, training):
        transferred = layer(transferred)
    return keras.Model(inputs, (own + transferred) / 2, name="head")


MUSICNN_SPEC = ModelSpec(
    name="musicnn",
    after="Ghosal & Kolekar's transfer from music, alone",
    summary="musicnn, pretrained on tagged music, and a small dense layer",
    backbone=MUSICNN,
    head=_tagger,
    training={"units": (64,), "epochs": 60, "patience": 15, "dropout": 0.3, "batch": 16},
)
CNN_LSTM = ModelSpec(
    name="cnn-lstm",
    after="Ghosal & Kolekar",
    summary="CNN and LSTM over frames and descriptors, averaged with musicnn's probabilities",
    backbone=TAGGED,
    head=_ensemble,
    training={"units": (64,), "epochs": 60, "patience": 15, "dropout": 0.3, "batch": 16},
)

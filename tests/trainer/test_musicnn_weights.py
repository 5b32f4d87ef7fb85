"""musicnn's weights are read from a wheel, without the filters that are zero, and verified."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tumbao.trainer import musicnn
from tumbao.trainer.musicnn import FRONT, MID, SHAPES, Tensors, ensure_musicnn, random_tensors, read_tensors
from tumbao.trainer.weights import WeightsError, tensors_digest

ALL_FILTERS = {"timbral_38": 204, "timbral_67": 204, "temporal_128": 51, "temporal_64": 51, "temporal_32": 51}


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    rng = np.random.default_rng(5)
    return {name: tensor + rng.random(tensor.shape, np.float32) for name, tensor in random_tensors(seed=5).items()}


@pytest.fixture
def trusted(tensors: Tensors, empty_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept random tensors as musicnn's."""
    monkeypatch.setattr(musicnn, "DIGEST", tensors_digest(list(tensors.values())))


def put_wheel(folder: Path, tensors: Tensors) -> str:
    """Write a wheel whose checkpoint has these tensors among filters that are zero; return its SHA-256."""
    rng = np.random.default_rng(6)
    used = {layer: np.sort(rng.permutation(count)[: FRONT[layer][2]]) for layer, count in ALL_FILTERS.items()}
    rows = np.concatenate([start + used[layer] for layer, start in zip(FRONT, (0, 204, 408, 459, 510), strict=True)])
    variables = {"batch_normalization/" + name.split("/")[1]: tensors[name] for name in list(SHAPES)[:4]}
    for name in list(SHAPES)[4:]:
        layer, variable = name.split("/")
        number = [*FRONT, *MID].index(layer.removesuffix("_norm"))
        tensor = tensors[name]
        if layer.removesuffix("_norm") in FRONT:
            filters = used[layer.removesuffix("_norm")]
            full = np.full((*tensor.shape[:-1], ALL_FILTERS[layer.removesuffix("_norm")]), 1e-8, np.float32)
            full[..., filters] = tensor
            tensor = full
        elif variable == "kernel" and layer == MID[0]:
            tensor = np.zeros((7, 561, 1, 64), np.float32)
            tensor[:, rows, 0] = tensors[name]
        elif variable == "kernel":
            tensor = tensor[:, :, np.newaxis]
        kind, number = ("batch_normalization", number + 1) if layer.endswith("_norm") else ("conv2d", number)
        variables[f"{kind}_{number}/{variable}" if number else f"{kind}/{variable}"] = tensor
    prefix = folder / "checkpoint"
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=list(variables), shape_and_slices=[""] * len(variables),
        tensors=list(variables.values()),
    )  # fmt: skip
    path = folder / "musicnn-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for ending in (".index", ".data-00000-of-00001"):
            wheel.write(f"{prefix}{ending}", musicnn.WHEEL_CHECKPOINT + ending)
        wheel.writestr("musicnn-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("musicnn-0.1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: musicnn\nVersion: 0.1.0\n")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_filters_that_are_not_zero_are_cached(
    tensors: Tensors, empty_index: Path, trusted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(musicnn, "WHEEL_SHA256", put_wheel(empty_index, tensors))
    found = ensure_musicnn()
    cached = musicnn.cache_file()
    assert (found.path, found.source) == (cached, "package index, wheel musicnn==0.1.0")
    assert list(cached.parent.iterdir()) == [cached]
    for name, tensor in read_tensors(cached).items():
        np.testing.assert_array_equal(tensor, tensors[name], err_msg=name)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert ensure_musicnn().source == "Tumbao's cache"
    assert ensure_musicnn(cached).source == "file given with --weights"


def test_another_wheel_and_other_tensors_are_refused_and_leave_nothing(
    tensors: Tensors, empty_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = put_wheel(empty_index, tensors)
    with pytest.raises(WeightsError, match=f"another musicnn==0.1.0.*{musicnn.WHEEL_SHA256}.*{received}"):
        ensure_musicnn()
    monkeypatch.setattr(musicnn, "WHEEL_SHA256", received)
    with pytest.raises(WeightsError, match=f"not musicnn's weights.*{musicnn.DIGEST} over the 52 tensors"):
        ensure_musicnn()
    assert not musicnn.cache_file().exists()


def test_without_any_network_the_three_ways_are_named(empty_index: Path) -> None:
    with pytest.raises(WeightsError, match=r"three ways.*musicnn==0\.1\.0.*No matching distribution") as refusal:
        ensure_musicnn()
    for way in ("--weights", str(musicnn.cache_file())):
        assert way in str(refusal.value)

"""The network has the layers of the paper's Table I, and predicts what backbone and head predict."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tumbao.trainer import vgg16 as backbone_module
from tumbao.trainer.model import dense_head, joined
from tumbao.trainer.training import Training
from tumbao.trainer.vgg16 import preferred_policy, vgg16_backbone

TABLE_I = [
    ("image", "InputLayer", (300, 300, 3), 0),
    ("block1_conv1", "Conv2D", (300, 300, 64), 1_792),
    ("block1_conv2", "Conv2D", (300, 300, 64), 36_928),
    ("block1_pool", "MaxPooling2D", (150, 150, 64), 0),
    ("block2_conv1", "Conv2D", (150, 150, 128), 73_856),
    ("block2_conv2", "Conv2D", (150, 150, 128), 147_584),
    ("block2_pool", "MaxPooling2D", (75, 75, 128), 0),
    ("block3_conv1", "Conv2D", (75, 75, 256), 295_168),
    ("block3_conv2", "Conv2D", (75, 75, 256), 590_080),
    ("block3_conv3", "Conv2D", (75, 75, 256), 590_080),
    ("block3_pool", "MaxPooling2D", (37, 37, 256), 0),
    ("block4_conv1", "Conv2D", (37, 37, 512), 1_180_160),
    ("block4_conv2", "Conv2D", (37, 37, 512), 2_359_808),
    ("block4_conv3", "Conv2D", (37, 37, 512), 2_359_808),
    ("block4_pool", "MaxPooling2D", (18, 18, 512), 0),
    ("block5_conv1", "Conv2D", (18, 18, 512), 2_359_808),
    ("block5_conv2", "Conv2D", (18, 18, 512), 2_359_808),
    ("block5_conv3", "Conv2D", (18, 18, 512), 2_359_808),
    ("block5_pool", "MaxPooling2D", (9, 9, 512), 0),
    ("flatten", "Flatten", (41_472,), 0),
    ("dense", "Dense", (512,), 21_234_176),
    ("dense_1", "Dense", (64,), 32_832),
    ("dense_2", "Dense", (5,), 325),
]
"""Name, kind, output and parameters of each layer, as the paper prints them."""


@pytest.fixture(scope="module")
def backbone() -> Any:
    return vgg16_backbone(None)


@pytest.fixture(scope="module")
def classifier() -> Any:
    return dense_head((9, 9, 512), 5, Training())


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, 300, 300, 3), dtype=np.uint8)


def test_every_layer_is_a_row_of_table_i(backbone: Any, classifier: Any) -> None:
    layers = joined(backbone, classifier).layers
    rows = [(one.name, type(one).__name__, one.output.shape[1:], one.count_params()) for one in layers]
    assert rows == TABLE_I
    assert [one.name for one in layers if one.trainable_weights] == ["dense", "dense_1", "dense_2"]


def test_joined_predicts_what_backbone_then_head_predict(backbone: Any, classifier: Any, images: np.ndarray) -> None:
    one_after_the_other = classifier(backbone(images))
    np.testing.assert_allclose(joined(backbone, classifier)(images), one_after_the_other, atol=1e-6)
    np.testing.assert_allclose(np.sum(one_after_the_other, axis=1), 1, atol=1e-5)


def test_the_backbone_preprocesses_bytes_and_floats(backbone: Any, images: np.ndarray) -> None:
    bare = keras.applications.VGG16(include_top=False, weights=None, input_shape=(300, 300, 3))
    bare.set_weights(backbone.get_weights())
    caffe: np.ndarray = images[:1, ..., ::-1] - np.array(
        [103.939, 116.779, 123.68], dtype=np.float32
    )  # blue, green, red
    expected = np.asarray(bare(caffe))
    np.testing.assert_allclose(backbone(images[:1]), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(backbone(images[:1].astype(np.float32)), expected, rtol=1e-4, atol=1e-3)


def test_bfloat16_gives_nearly_the_same_features_as_float32(backbone: Any, images: np.ndarray) -> None:
    exact = np.asarray(backbone(images[:1])).ravel()
    rounded = np.asarray(vgg16_backbone(None, "mixed_bfloat16")(images[:1])).ravel()
    assert rounded.dtype == np.float32
    cosine = exact @ rounded / np.linalg.norm(exact) / np.linalg.norm(rounded)
    assert cosine > 0.999
    assert not np.array_equal(exact, rounded)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("flags", "policy"),
    [
        ("fma avx2 avx512_bf16 amx_bf16", "mixed_bfloat16"),
        ("fma avx2 avx512_bf16", "float32"),
    ],
)
def test_only_amx_makes_a_cpu_compute_in_bfloat16(
    flags: str, policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    monkeypatch.setattr(backbone_module, "_CPUINFO", cpuinfo)
    monkeypatch.setattr(backbone_module, "NVIDIA_DRIVER", tmp_path / "no-driver")
    assert preferred_policy()[0] == policy


@pytest.mark.parametrize(("capability", "policy"), [((9, 0), "mixed_bfloat16"), ((7, 5), "float32"), (None, "float32")])
def test_a_gpu_takes_precedence_over_the_cpu(
    capability: tuple[int, int] | None, policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backbone_module, "_CPUINFO", tmp_path / "unreadable")
    monkeypatch.setattr(backbone_module, "NVIDIA_DRIVER", tmp_path)
    monkeypatch.setattr(backbone_module, "_gpu_capability", lambda: capability)
    assert preferred_policy()[0] == policy

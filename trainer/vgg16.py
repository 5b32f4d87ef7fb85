"""The VGG-16 backbone without top, with its preprocessing inside, and the choice of its precision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tumbao.trainer import weights
from tumbao.trainer.lazy import keras, tf

if TYPE_CHECKING:
    import numpy as np

Policy = Literal["float32", "mixed_bfloat16"]

IMAGE_SHAPE = (300, 300, 3)
FEATURES_SHAPE = (9, 9, 512)

NVIDIA_DRIVER = Path("/proc/driver/nvidia")
"""Exists where a GPU may be used."""

_CPUINFO = Path("/proc/cpuinfo")


def vgg16_backbone(weights_file: Path | None, dtype_policy: Policy = "float32") -> keras.Model:
    """Build VGG-16 up to block5_pool, with every weight frozen.

    Images [n, 300, 300, 3], RGB, uint8 or float in 0..255 → features float32 [n, 9, 9, 512], 0 or greater.
    `weights_file` is a Keras no-top file found by `weights.ensure_vgg16`; None for seeded random weights.
    `dtype_policy` is that of the computation; weights and output are float32 in both cases.
    """
    tensors = weights.random_tensors() if weights_file is None else weights.read_tensors(weights_file)
    images = keras.Input(IMAGE_SHAPE, dtype="float32", name="image")
    policy_before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype_policy)
    try:
        backbone = keras.applications.VGG16(
            include_top=False, weights=None, input_tensor=keras.applications.vgg16.preprocess_input(images)
        )
    finally:
        keras.config.set_dtype_policy(policy_before)
    backbone.set_weights(tensors)
    features = backbone.output if dtype_policy == "float32" else keras.ops.cast(backbone.output, "float32")
    model = keras.Model(images, features, name="backbone")
    model.trainable = False
    return model


def with_average_pooling(backbone: keras.Model) -> keras.Model:
    """Return a copy of a backbone with its five max pooling layers replaced by average pooling."""

    def replaced(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, keras.layers.MaxPooling2D):
            return layer
        return keras.layers.AveragePooling2D(layer.pool_size, layer.strides, name=layer.name, dtype=layer.dtype_policy)

    model = keras.models.clone_model(backbone, clone_function=replaced)
    model.trainable = False
    return model


def up_to(backbone: keras.Model, layer: str) -> keras.Model:
    """Cut a backbone off after a layer: images → that layer's output, float32."""
    model = keras.Model(backbone.input, keras.ops.cast(backbone.get_layer(layer).output, "float32"), name="backbone")
    model.trainable = False
    return model


def last_block_tensors(weights_file: Path | None) -> dict[str, list[np.ndarray]]:
    """Return kernel and bias of VGG-16's last block by layer name, block5_conv1 to block5_conv3."""
    tensors = weights.random_tensors() if weights_file is None else weights.read_tensors(weights_file)
    return {f"block5_conv{conv}": tensors[2 * conv - 8 : 2 * conv - 6 or None] for conv in (1, 2, 3)}


def cpu_features() -> frozenset[str]:
    """Return Linux's names of the processor's features, such as "avx2"; empty where they cannot be read."""
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def cpu_policy() -> tuple[Policy, str]:
    """Choose the dtype policy that is faster on this processor; the second value is the reason as a sentence."""
    if "amx_bf16" in cpu_features():
        return (
            "mixed_bfloat16",
            "The backbone computes in bfloat16: this CPU has AMX, which makes it 4 to 5 times faster.",
        )
    return "float32", "The backbone computes in float32, which is faster without AMX."


def preferred_policy() -> tuple[Policy, str]:
    """Choose the faster dtype policy on the GPU, if there is one, else on the processor, with the reason as a sentence.

    TensorFlow is imported only where there is an NVIDIA driver.
    """
    capability = _gpu_capability() if NVIDIA_DRIVER.exists() else None
    if capability is None:
        return cpu_policy()
    if capability >= (8, 0):
        return "mixed_bfloat16", "The backbone computes in bfloat16: this GPU has units for it."
    return "float32", "The backbone computes in float32: this GPU is too old for bfloat16."


def _gpu_capability() -> tuple[int, int] | None:
    """Return the compute capability of the first GPU that TensorFlow can use."""
    for device in tf.config.list_physical_devices("GPU"):
        major, minor = tf.config.experimental.get_device_details(device).get("compute_capability", (0, 0))
        return major, minor
    return None

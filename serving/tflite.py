"""Conversion of a SavedModel to TFLite files, and to ONNX by `onnx_export`.

The converter can abort the whole process, so it runs only in a child process whose return code is checked, and it can
lose the weights without an error, so every file is verified there. Shapes are static, one fragment at a time: browsers
do not support a dynamic batch dimension. Only the image model is quantized; a quantized front-end computes wrong
images. A third file merges both models (waveform → probabilities).

TensorFlow's converter quantizes every tensor, so that logits and probabilities are coarse, and all genres but the first
get 0. The AI Edge Quantizer leaves the last layers as they are: convolutions and pooling get fixed ranges; dense layers
have integer weights and compute the range of their input at run time.
"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tumbao.schema.mel_spec import MelSpec
from tumbao.serving import onnx_export
from tumbao.serving.model_info import AUDIO_FILE, CLASSIFIER_FILES, FRONTEND_FILE, ONNX_FILE, PREFERENCE, preferred
from tumbao.serving.tflite_file import join, name_tensors, pack, unpack


def int8_quantize(content: bytes, images: np.ndarray, advance: Callable[[], None]) -> bytes:
    """Quantize a .tflite in float32 with a signature `image`; `advance` is called after each image.

    TensorFlow has to be imported before, or the quantizer lacks a part of NumPy.
    """
    from ai_edge_quantizer import calibrator, quantizer, recipe_manager
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    recipe = recipe_manager.RecipeManager()
    for operation in (
        TFLOperationName.CONV_2D,
        TFLOperationName.DEPTHWISE_CONV_2D,
        TFLOperationName.AVERAGE_POOL_2D,
        TFLOperationName.MAX_POOL_2D,
    ):
        recipe.add_static_config(".*", operation, activation_num_bits=8, weight_num_bits=8)
    recipe.add_dynamic_config(  # one scale per layer: older runtimes support nothing else
        ".*", TFLOperationName.FULLY_CONNECTED, num_bits=8, granularity=QuantGranularity.TENSORWISE
    )
    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    ranges = calibrator.Calibrator(content, num_threads=1, mode=mode, qsv_update_func=min_max_update)
    for image in images:
        ranges.calibrate({"image": [{"image": image[np.newaxis]}]}, recipe)
        advance()
    made = quantizer.Quantizer(content, recipe.get_quantization_recipe()).quantize(ranges.get_model_qsvs())
    return bytes(made.quantized_model)


def finish(content: bytes, parameters: int) -> bytes:
    """Name the tensors of a converted model, choose how dense layers quantize their inputs, and verify the result.

    Raises ValueError if it lacks most of its `parameters`, or computes numbers that are not finite. TensorFlow 2.21
    converts a SavedModel that tracks a Keras model without an error, but leaves the weights out.
    """
    model = unpack(content)
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    constants = [one.shape for one in tensors if model.buffers[one.buffer].data is not None and one.shape is not None]
    if (stored := sum(math.prod(map(int, shape)) for shape in constants)) < parameters / 2:
        raise ValueError(f"The converted file lacks weights: it stores {stored} numbers for {parameters} weights.")
    name_tensors(model)
    for operator in model.subgraphs[0].operators:
        if isinstance(operator.builtinOptions, schema.FullyConnectedOptionsT):
            _choose_input_quantization(operator, model)
    content = pack(model)
    _require_finite(content)
    return content


def _choose_input_quantization(operator: Any, model: Any) -> None:
    """Quantize the inputs of a dense layer asymmetrically unless TensorFlow 2.16 would add up its weights wrongly.

    No input is negative after a ReLU. For asymmetric inputs its kernel for x86 needs the sum of each unit's weights,
    and computes it in eight parts of 16 bits each.
    """
    weights = model.subgraphs[0].tensors[operator.inputs[1]]
    if weights.type == schema.TensorType.INT8:
        values = np.frombuffer(bytes(model.buffers[weights.buffer].data), np.int8).reshape(weights.shape)
        padded = np.pad(values, [(0, 0), (0, -values.shape[1] % 16)])
        parts = padded.reshape(len(padded), -1, 8, 2).sum(axis=(1, 3), dtype=np.int64)
        operator.builtinOptions.asymmetricQuantizeInputs = bool(np.abs(parts).max() < 2**15)


def _require_finite(content: bytes) -> None:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    noise = np.random.default_rng(0).random
    inputs = {
        name: (noise(one["shape"]) * (255 if one["dtype"] == np.uint8 else 1)).astype(one["dtype"])
        for name, one in runner.get_input_details().items()
    }
    for name, values in runner(**inputs).items():
        if not np.isfinite(values).all():
            raise ValueError(f"The converted file computes values of {name} that are not finite numbers.")


_TICK = "calibrated"


class ConversionError(RuntimeError):
    """The TFLite converter failed; the message contains the end of its output."""


def convert(
    saved_model: str,
    folder: Path,
    calibration: np.ndarray,
    spec: MelSpec,
    advance: Callable[[], None] = lambda: None,
    precisions: Sequence[str] = PREFERENCE,
) -> None:
    """Convert the front-end and the image model in several precisions, and merge the preferred one with the front-end.

    The model that takes a waveform is also converted to ONNX.

    The ranges of the int8 model are computed from `calibration`, mel images uint8 [n, height, width, 3] of the training
    split. `advance` is called once per image (only for an int8 model) and once per file.
    """
    with tempfile.TemporaryDirectory(prefix="tumbao-tflite-") as temporary:
        images = Path(temporary) / "calibration.npy"
        np.save(images, calibration)
        _convert_in_child(saved_model, folder, images, spec, ["frontend", "onnx", *precisions], advance)
    join_audio(folder, preferred(precisions))
    advance()


def join_audio(folder: Path, precision: str) -> None:
    """Write the audio file of a folder: its front-end merged with its classifier of a precision."""
    pair = ((folder / name).read_bytes() for name in (FRONTEND_FILE, CLASSIFIER_FILES[precision]))
    (folder / AUDIO_FILE).write_bytes(join(*pair))


def convert_classifier(saved_model: str, precision: str, spec: MelSpec) -> bytes:
    """Convert the image model to `float16` or `dynamic`, which need no calibration, and return the file's content."""
    with tempfile.TemporaryDirectory(prefix="tumbao-tflite-") as temporary:
        folder = Path(temporary)
        _convert_in_child(saved_model, folder, folder / "none", spec, [precision], lambda: None)
        return (folder / CLASSIFIER_FILES[precision]).read_bytes()


def _convert_in_child(
    saved_model: str, folder: Path, images: Path, spec: MelSpec, names: Sequence[str], advance: Callable[[], None]
) -> None:
    """Convert to `frontend`, `onnx` and precisions in a child process."""
    arguments = [saved_model, str(folder), str(images), json.dumps(dataclasses.asdict(spec)), *names]
    command = [sys.executable, "-m", "tumbao.serving.tflite", *arguments]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True) as child,
    ):
        try:
            for line in child.stdout or ():
                if line.strip() == _TICK:
                    advance()
        except BaseException:
            child.kill()
            raise
        if child.wait():
            log.seek(0)
            end = "".join(log.readlines()[-15:])
            raise ConversionError(f"Converting to {', '.join(names)} ended with code {child.returncode}:\n{end}")


def _work(saved_model: str, folder: str, calibration: str, mel: str, *names: str) -> None:
    """Convert in this process; `_convert_in_child` runs this."""
    spec = MelSpec(**json.loads(mel))
    with tempfile.TemporaryDirectory(prefix="tumbao-static-") as temporary:
        static = f"{temporary}/static"
        _save_static(saved_model, static, spec)
        for name in names:
            if name == "onnx":
                onnx_export.convert(saved_model, f"{folder}/{ONNX_FILE}", spec)
            elif name == "frontend":
                Path(folder, FRONTEND_FILE).write_bytes(finish(_frontend(spec, temporary), 0))
            else:
                content = finish(_classifier(static, name, calibration), _parameters(saved_model))
                Path(folder, CLASSIFIER_FILES[name]).write_bytes(content)
            _tick()


def _classifier(static: str, precision: str, calibration: str) -> bytes:
    """Convert the SavedModel of `_save_static`; the images in `calibration` give an int8 model its ranges."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(static, signature_keys=["image"])
    if precision != "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    # one scale per dense layer, as in TensorFlow 2.16: older runtimes support nothing else
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    content: bytes = converter.convert()
    if precision == "int8":
        content = int8_quantize(content, np.load(calibration, mmap_mode="r"), _tick)
    return content


def _tick() -> None:
    sys.stdout.write(f"{_TICK}\n")
    sys.stdout.flush()


def _parameters(saved_model: str) -> int:
    """Count the weights of a SavedModel."""
    import tensorflow as tf

    return sum(math.prod(shape) for _, shape in tf.train.list_variables(f"{saved_model}/variables/variables"))


def _save_static(saved_model: str, folder: str, spec: MelSpec) -> None:
    """Save the image signature again, for exactly one image and without the names of the genres."""
    import tensorflow as tf

    module = tf.Module()
    module.loaded = tf.saved_model.load(saved_model)

    def image(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = module.loaded.signatures["image"](image=image)
        return {name: output for name, output in outputs.items() if name != "genres"}

    function = tf.function(image).get_concrete_function(tf.TensorSpec([1, *spec.image_shape], tf.uint8, name="image"))
    tf.saved_model.save(module, folder, signatures={"image": function})


def _frontend(spec: MelSpec, temporary: str) -> bytes:
    import tensorflow as tf

    from tumbao.components.ingest.mel import mel_image

    def waveform(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"image": mel_image(waveform, spec)}

    fragment = tf.TensorSpec([1, spec.fragment_samples], tf.float32, name="waveform")
    function = tf.function(waveform).get_concrete_function(fragment)
    tf.saved_model.save(tf.Module(), f"{temporary}/frontend", signatures={"waveform": function})
    return tf.lite.TFLiteConverter.from_saved_model(f"{temporary}/frontend", signature_keys=["waveform"]).convert()


if __name__ == "__main__":
    _work(*sys.argv[1:])

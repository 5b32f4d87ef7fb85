"""The whole model, from a waveform to probabilities, as an ONNX file for ONNX Runtime.

tf2onnx has no real Fourier transform with real and imaginary parts, so these operations are converted here, to ONNX's
own operator DFT.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tumbao.schema.mel_spec import MelSpec

OPSET = 18  # DFT needs 17


def convert(saved_model: str, file: str, spec: MelSpec) -> None:
    """Convert the signature `waveform` of a SavedModel, without the names of the genres."""
    import tensorflow as tf
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from tumbao.serving.signatures import GENRES, WAVEFORM

    loaded = tf.saved_model.load(saved_model)  # has to live as long as its signatures
    signature = loaded.signatures[WAVEFORM]
    # tf2onnx mistakes a constant that the signature has captured for an input
    frozen = convert_variables_to_constants_v2(signature)

    def waveform(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = tf.nest.pack_sequence_as(signature.structured_outputs, frozen(waveform))
        return {name: output for name, output in outputs.items() if name != GENRES}

    tf2onnx.convert.from_function(
        tf.function(waveform),
        [tf.TensorSpec([None, spec.fragment_samples], tf.float32, name=WAVEFORM)],
        opset=OPSET,
        custom_op_handlers={
            "RFFT": (_fourier_transform, ["DFT"]),
            "Real": (_part, ["Gather", 0]),
            "Imag": (_part, ["Gather", 1]),
        },
        output_path=file,
    )


def _fourier_transform(graph: Any, node: Any, _: str, arguments: list[Any]) -> None:
    """Replace RFFT by DFT, whose complex numbers are a last axis of two."""
    length = node.inputs[1].get_tensor_value(as_list=False).item()
    *front, _ = graph.get_shape(node.input[0])
    signal = graph.make_node("Unsqueeze", [node.input[0], _constant(graph, [-1])]).output[0]
    attributes = {"axis": len(front), "onesided": 1}
    _replace(graph, node, "DFT", [signal, _constant(graph, length)], attributes, [*front, length // 2 + 1, 2])


def _part(graph: Any, node: Any, _: str, arguments: list[Any]) -> None:
    """Replace Real or Imag by one element of the last axis."""
    inputs = [node.input[0], _constant(graph, arguments[0])]
    _replace(graph, node, "Gather", inputs, {"axis": -1}, graph.get_shape(node.output[0]))


def _constant(graph: Any, value: Any) -> str:
    from tf2onnx.utils import make_name

    name: str = graph.make_const(make_name("constant"), np.array(value, np.int64)).output[0]
    return name


def _replace(
    graph: Any, node: Any, operator: str, inputs: list[str], attributes: dict[str, int], shape: list[int]
) -> None:
    """Replace a node by one with the same name and output, float32."""
    from onnx import TensorProto

    graph.remove_node(node.name)
    graph.make_node(
        operator,
        inputs,
        attr=attributes,
        outputs=node.output,
        name=node.name,
        dtypes=[TensorProto.FLOAT],
        shapes=[shape],
    )


def with_metadata(content: bytes, texts: Mapping[str, str]) -> bytes:
    """Add texts by name to an ONNX file, as metadata, which every runtime can read."""
    import onnx

    model = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(model, texts)
    serialized: bytes = model.SerializeToString()
    return serialized


def onnx_runner(content: bytes, threads: int) -> Callable[..., dict[str, np.ndarray]]:
    """Load an ONNX file; the result takes inputs by name and returns the outputs by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(zip(names, session.run(names, inputs), strict=True))

"""TFLite files as values in Python: taken apart, written again, their doors named."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped] # it has no types
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_ALIGNMENT_BYTES = 16  # the schema's force_align of a buffer's data, which the generated code leaves out


class _Builder(flatbuffers.Builder):
    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - flatbuffers' name
        if x.dtype == np.uint8:
            self.Prep(_ALIGNMENT_BYTES, x.nbytes)
        return super().CreateNumpyVector(x)


def unpack(content: bytes) -> Any:
    """Take a model apart; data that stand behind the flatbuffer are brought in.

    Parameters
    ----------
    content : bytes
        A .tflite.

    Returns
    -------
    model : ModelT
        The schema's own class; weights are views of `content`.

    Raises
    ------
    ValueError
        If it is no .tflite.
    """
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError(f"Expected a TFLite model. Received: {len(content)} bytes that begin with {content[:8]!r}")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # its data stand behind the flatbuffer, as the AI Edge Quantizer writes them
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model: Any) -> bytes:
    """Write a model.

    Parameters
    ----------
    model : ModelT
        From `unpack`.

    Returns
    -------
    content : bytes
        A .tflite; weights begin at multiples of 16 bytes, so that the file can be mapped into memory, and operators are
        named in the schema's older field too, where some readers look for them.
    """
    for code in model.operatorCodes:
        code.deprecatedBuiltinCode = min(
            max(code.builtinCode, code.deprecatedBuiltinCode), schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
        )
    builder = _Builder(1024 + sum(buffer.data.nbytes for buffer in model.buffers if buffer.data is not None))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def with_named_tensors(content: bytes) -> bytes:
    """Give the tensors of every signature the names that the signature has for them.

    Parameters
    ----------
    content : bytes
        A .tflite whose tensors are called `image_image:0` and `StatefulPartitionedCall:0`, as the converter does.

    Returns
    -------
    content : bytes
        The same model; they are called `image` and `probabilities`.
    """
    model = unpack(content)
    for signature in model.signatureDefs:
        for tensor in (*signature.inputs, *signature.outputs):
            model.subgraphs[signature.subgraphIndex].tensors[tensor.tensorIndex].name = tensor.name
    return pack(model)

"""Read and write TFLite files as Python objects, and name the tensors of their signatures."""

from __future__ import annotations

from typing import Any

import flatbuffers  # type: ignore[import-untyped] # it has no types
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_IDENTIFIER = b"TFL3"
_ALIGNMENT_BYTES = 16  # the schema's force_align of a buffer's data, which the generated code omits


class _Builder(flatbuffers.Builder):
    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - flatbuffers' name
        if x.dtype == np.uint8:
            self.Prep(_ALIGNMENT_BYTES, x.nbytes)
        return super().CreateNumpyVector(x)


def unpack(content: bytes) -> Any:
    """Parse a .tflite file into the schema's `ModelT`.

    Data stored behind the flatbuffer are moved into its buffers; weights are views of `content`. Raises `ValueError` if
    it is not a TFLite model.
    """
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError(f"Expected a TFLite model. Received: {len(content)} bytes that begin with {content[:8]!r}")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # stored behind the flatbuffer, as the AI Edge Quantizer does
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model: Any) -> bytes:
    """Serialize a `ModelT` of `unpack`.

    Weights are aligned to 16 bytes, so that the file can be mapped into memory. Operators are also named in the
    schema's deprecated field, which some readers use.
    """
    for code in model.operatorCodes:
        code.deprecatedBuiltinCode = min(
            max(code.builtinCode, code.deprecatedBuiltinCode), schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
        )
    builder = _Builder(1024 + sum(buffer.data.nbytes for buffer in model.buffers if buffer.data is not None))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def with_named_tensors(content: bytes) -> bytes:
    """Rename the tensors of each signature to their names in the signature.

    The converter calls them `image_image:0` and `StatefulPartitionedCall:0`; they become `image` and `probabilities`.
    """
    model = unpack(content)
    for signature in model.signatureDefs:
        for tensor in (*signature.inputs, *signature.outputs):
            model.subgraphs[signature.subgraphIndex].tensors[tensor.tensorIndex].name = tensor.name
    return pack(model)

"""Read, write, merge and extend TFLite files."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
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
    """Parse a .tflite file into the schema's `ModelT`."""
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ValueError(f"Expected a TFLite model. Received: {len(content)} bytes that begin with {content[:8]!r}")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for buffer in model.buffers:
        if buffer.offset > 1:  # stored behind the flatbuffer, as the AI Edge Quantizer does
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def pack(model: Any) -> bytes:
    """Serialize a `ModelT` of `unpack`."""
    for code in model.operatorCodes:
        code.deprecatedBuiltinCode = min(
            max(code.builtinCode, code.deprecatedBuiltinCode), schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
        )
    builder = _Builder(1024 + sum(buffer.data.nbytes for buffer in model.buffers if buffer.data is not None))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def name_tensors(model: Any) -> None:
    """Rename the tensors of each signature to their names in the signature."""
    for signature in model.signatureDefs or ():
        for tensor in (*signature.inputs, *signature.outputs):
            model.subgraphs[signature.subgraphIndex].tensors[tensor.tensorIndex].name = tensor.name


def join(first: bytes, second: bytes) -> bytes:
    """Merge two models with one signature, one input and one output each."""
    model, tail = unpack(first), unpack(second)
    graph, rest = model.subgraphs[0], tail.subgraphs[0]
    places = {-1: -1, rest.inputs[0]: graph.outputs[0]}  # -1: an omitted input
    for index, tensor in enumerate(rest.tensors):
        if index not in places:
            places[index] = len(graph.tensors)
            tensor.buffer += len(model.buffers) if tensor.buffer else 0  # buffer 0 means no data
            graph.tensors.append(tensor)
    for operator in rest.operators:
        operator.opcodeIndex += len(model.operatorCodes)
        operator.inputs = [places[index] for index in operator.inputs]
        operator.outputs = [places[index] for index in operator.outputs]
    graph.operators += rest.operators
    graph.outputs = [places[index] for index in rest.outputs]
    model.signatureDefs[0].outputs = tail.signatureDefs[0].outputs
    for output in model.signatureDefs[0].outputs:
        output.tensorIndex = places[output.tensorIndex]
    model.metadata = None
    model.buffers += tail.buffers
    model.operatorCodes += tail.operatorCodes
    return pack(model)


_SAME_IN_EVERY_RUN = (1980, 1, 1, 0, 0, 0)


def embed(model: bytes, files: Mapping[str, str]) -> bytes:
    """Append text files, by name, to a .tflite model, uncompressed."""
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, _SAME_IN_EVERY_RUN), text)
    return file.getvalue()

"""Merge two TFLite files into one: the output of the first is the input of the second.

The merged waveform → probabilities model keeps a float32 front-end and the quantized classifier: nothing is converted
again, and all weights are unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tumbao.serving.flatbuffer import pack, unpack

_RUNTIME = b"min_runtime_version"


def join(first: bytes, second: bytes) -> bytes:
    """Merge two models with one signature, one input and one output each.

    The result has the signature and input of the first and the output of the second. Raises `ValueError` if shape or
    dtype of the first's output and the second's input differ, or a model has several graphs.
    """
    model, tail = unpack(first), unpack(second)
    _require_fit(model, tail)
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
    metadata, version = schema.MetadataT(), schema.BufferT()
    metadata.name, metadata.buffer = _RUNTIME, len(model.buffers) + len(tail.buffers)
    version.data = np.frombuffer(max(_runtime(model), _runtime(tail), key=_numbers), np.uint8)
    model.metadata = [metadata]
    model.buffers += [*tail.buffers, version]
    model.operatorCodes += tail.operatorCodes
    return pack(model)


def _require_fit(model: Any, tail: Any) -> None:
    graphs = len(model.subgraphs), len(tail.subgraphs)
    if graphs != (1, 1):
        raise ValueError(f"Expected one graph in each model. Received: {graphs[0]} and {graphs[1]}")
    given, taken = (
        [(list(graph.tensors[index].shape), graph.tensors[index].type) for index in indexes]
        for graph, indexes in (
            (model.subgraphs[0], model.subgraphs[0].outputs),
            (tail.subgraphs[0], tail.subgraphs[0].inputs),
        )
    )
    if given != taken or len(given) != 1:
        raise ValueError(
            "Expected the second model to take what the first gives: one tensor, the same shape, the same type. "
            f"Received (shape, type): {given} and {taken}"
        )


def _runtime(model: Any) -> bytes:
    """Return the newest minimum runtime version in the model's metadata, as the raw bytes."""
    named = [bytes(model.buffers[one.buffer].data) for one in model.metadata or () if one.name == _RUNTIME]
    return max(named, key=_numbers, default=b"")


def _numbers(version: bytes) -> list[int]:
    return [int(part) for part in version.rstrip(b"\0").split(b".") if part]

"""Two TFLite files become one: what the first gives is what the second takes.

So sound → genre is one file whose front-end stays in float32 while its classifier stays as it was quantized: nothing is
converted anew, and every number inside is that of the pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tumbao.serving.flatbuffer import pack, unpack

_RUNTIME = b"min_runtime_version"


def join(first: bytes, second: bytes) -> bytes:
    """Join two models that have one signature, one input and one output each.

    Parameters
    ----------
    first : bytes
        A .tflite, for example waveform → image.
    second : bytes
        A .tflite that takes what the first gives, for example image → probabilities.

    Returns
    -------
    joined : bytes
        A .tflite with the first's signature and input and the second's output.

    Raises
    ------
    ValueError
        If the first's output is not the second's input in type and shape, or a model has several graphs.
    """
    model, tail = unpack(first), unpack(second)
    _require_fit(model, tail)
    graph, rest = model.subgraphs[0], tail.subgraphs[0]
    places = {-1: -1, rest.inputs[0]: graph.outputs[0]}  # -1: an input left out
    for index, tensor in enumerate(rest.tensors):
        if index not in places:
            places[index] = len(graph.tensors)
            tensor.buffer += len(model.buffers) if tensor.buffer else 0  # buffer 0 stands for none
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
    """Give the oldest runtime that a model names for itself, as it is written in it."""
    named = [bytes(model.buffers[one.buffer].data) for one in model.metadata or () if one.name == _RUNTIME]
    return max(named, key=_numbers, default=b"")


def _numbers(version: bytes) -> list[int]:
    return [int(part) for part in version.rstrip(b"\0").split(b".") if part]

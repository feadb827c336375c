"""Takes a float file apart, so that each operator computes from given inputs. Imports TensorFlow.

One run then returns the results of each operator for the values that the candidate's operator got. The difference is
the error of this operator alone, without the preceding operators, as in TensorFlow Lite's quantization debugger.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from components.convert.compaction import read_model
from components.explain.graph import Array, Graph
from components.upstream.tflite.objects import pack, schema


def taken_apart(graph: Graph, constants: Mapping[int, Array]) -> tuple[bytes, tuple[int, ...], tuple[int, ...]]:
    """Rewrite a float file so that no operator reads the result of another one.

    Args:
        graph: The float file.
        constants: Index of a constant -> other values for it, float32 of its shape.

    Returns:
        The file, then the indexes in `graph` of the activations that it takes as inputs, and of the activations that it
        returns, both in the order of the file.
    """
    model = read_model(graph.content)
    main = model.subgraphs[0]
    for index, values in constants.items():
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
        model.buffers.append(buffer)
        main.tensors[index].buffer = len(model.buffers) - 1
    given = tuple(index for index in graph.readers if index >= 0 and _is_activation(graph, index))
    copies: dict[int, int] = {}
    for index in given:
        copied = copy.copy(main.tensors[index])
        # A copy of an input needs its own name.
        copied.name = f"edgemill_given_{index}".encode()
        copied.buffer = 0
        copies[index] = len(main.tensors)
        main.tensors.append(copied)
    for operator in main.operators:
        operator.inputs = [copies.get(int(index), int(index)) for index in operator.inputs]
    returned = tuple(index for index in graph.makers if not graph.tensors[index].variable)
    main.inputs, main.outputs = list(copies.values()), list(returned)
    model.signatureDefs = None
    return pack(model), given, returned


def _is_activation(graph: Graph, index: int) -> bool:
    tensor = graph.tensors[index]
    return (index in graph.makers or index in graph.inputs) and not tensor.variable and not tensor.stored


def weights_of(reference: Graph, candidate: Graph, operators: Mapping[int, Any], decoded: Any) -> dict[int, Array]:
    """Index of a float constant of the float file -> the real values that the candidate has instead, float32.

    Args:
        reference, candidate: The files.
        operators: As in `Matched`.
        decoded: Returns the values of a computed tensor of the candidate, for weights in a sparse format.
    """
    found: dict[int, Array] = {}
    for index, other in operators.items():
        for ours, theirs in zip(reference.operators[index].inputs, other.inputs, strict=False):
            if ours < 0 or theirs < 0:
                continue
            constant = reference.tensors[ours]
            if constant.constant is None or not constant.is_float:
                continue
            values = _stored(candidate, theirs, decoded)
            if values is not None and values.shape == constant.shape:
                found[ours] = values.astype(np.float32)
    return found


def _stored(candidate: Graph, index: int, decoded: Any) -> Array | None:
    """The real values of a constant of the candidate, which can be packed, narrowed, or sparse."""
    tensor = candidate.tensors[index]
    if tensor.constant is not None:
        return tensor.real(tensor.constant)
    maker = candidate.makers.get(index)
    if maker is None or maker.kind not in {"DEQUANTIZE", "DENSIFY"}:
        return None
    source = _stored(candidate, maker.inputs[0], decoded)
    if source is not None:
        return source
    if not candidate.tensors[candidate.source(index, frozenset({"DEQUANTIZE", "DENSIFY"}))].stored:
        return None
    values = decoded(index)
    return None if values is None else tensor.real(values)

"""Fold the cast of an input of bytes into the quantization of the input."""

from __future__ import annotations

from typing import Any

from components.convert.compaction import read_model
from components.upstream.tflite.objects import pack, schema

_BYTES = (schema.TensorType.UINT8, schema.TensorType.INT8)


def with_folded_casts(content: bytes) -> bytes:
    """Read inputs of bytes as quantized values with the scale 1, instead of casting them to floats.

    The converter writes CAST (to float32) and QUANTIZE for an input of `uint8` or `int8`. A byte is its own quantized
    value with the scale 1 and the zero point 0, so QUANTIZE alone computes the same result, with integers only. Casts
    of other types stay: QUANTIZE doesn't read them.

    Args:
        content: A TFLite file with 8-bit activations.

    Returns:
        The file with such inputs; the same bytes if there are none.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    folded = [operator for operator in graph.operators if _folds(operator, graph, kinds)]
    if not folded:
        return content
    for cast in folded:
        source, target = int(cast.inputs[0]), int(cast.outputs[0])
        graph.tensors[source].quantization = schema.QuantizationParametersT()
        graph.tensors[source].quantization.scale = [1.0]
        graph.tensors[source].quantization.zeroPoint = [0]
        for reader in _readers(graph, target):
            reader.inputs = [source]
        # Nothing reads this tensor now. As an integer tensor, it doesn't count as a float in the file.
        graph.tensors[target].type = graph.tensors[source].type
    graph.operators = [operator for operator in graph.operators if operator not in folded]
    for code, kind in zip(model.operatorCodes, kinds, strict=True):
        if kind == schema.BuiltinOperator.QUANTIZE:
            # The first version only quantizes floats.
            code.version = max(code.version, 2)
    return pack(model)


def _folds(operator: Any, graph: Any, kinds: list[int]) -> bool:
    """Whether an operator casts an input of bytes, which nothing else reads, and only QUANTIZE reads the result."""
    if kinds[operator.opcodeIndex] != schema.BuiltinOperator.CAST or operator.inputs[0] not in graph.inputs:
        return False
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    readers = _readers(graph, target)
    return (
        graph.tensors[source].type in _BYTES
        and _readers(graph, source) == [operator]
        and target not in graph.outputs
        and bool(readers)
        and all(
            kinds[reader.opcodeIndex] == schema.BuiltinOperator.QUANTIZE
            and graph.tensors[reader.outputs[0]].type == schema.TensorType.INT8
            for reader in readers
        )
    )


def _readers(graph: Any, tensor: int) -> list[Any]:
    return [operator for operator in graph.operators if tensor in operator.inputs]

"""Sort what the converter writes in random order, so that the same model gives the same bytes."""

from __future__ import annotations

from components.convert.compact.inline import read_model
from components.upstream.tflite.objects import pack, schema


def with_sorted_dequantization(content: bytes) -> bytes:
    """Put DEQUANTIZE operators of constants first, and sort them and their outputs by the index of the constant.

    The older of the two quantizers adds them in the order of memory addresses.

    Args:
        content: A TFLite file.

    Returns:
        An equivalent file.
    """
    model = read_model(content)
    dequantize = {
        index
        for index, code in enumerate(model.operatorCodes)
        if max(code.builtinCode, code.deprecatedBuiltinCode) == schema.BuiltinOperator.DEQUANTIZE
    }
    for graph in model.subgraphs:
        first = [
            operator
            for operator in graph.operators
            if operator.opcodeIndex in dequantize
            and model.buffers[graph.tensors[operator.inputs[0]].buffer].data is not None
        ]
        first.sort(key=lambda operator: int(operator.inputs[0]))
        places = sorted(int(operator.outputs[0]) for operator in first)
        moved = {int(operator.outputs[0]): place for operator, place in zip(first, places, strict=True)}
        tensors = list(graph.tensors)
        for old, new in moved.items():
            graph.tensors[new] = tensors[old]
        for operator in graph.operators:
            operator.inputs = [moved.get(int(index), int(index)) for index in operator.inputs]
            operator.outputs = [moved.get(int(index), int(index)) for index in operator.outputs]
        graph.operators = first + [operator for operator in graph.operators if operator not in first]
    return pack(model)

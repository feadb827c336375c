"""Conversion of a float TFLite file whose activations stay in float: float16 and dynamic range."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from components.convert.aeq.quantize import dynamic_range
from components.convert.compaction import read_model
from components.core.errors import ConversionError
from components.model.reference.float_model import tflite_path
from components.spec.scheme import Float32, Scheme
from components.spec.schemes.limits import DYNAMIC_MINIMUM_ELEMENTS
from components.upstream.tflite.objects import pack, schema

# Smaller constants with fewer dimensions stay float32: casting them saves nothing.
_LEAST_ELEMENTS = 16


def float_file(serving: Path) -> bytes:
    """The float TFLite file of the baseline in a serving folder: itself, or converted from its SavedModel."""
    from components.convert.tensorflow.converter import convert

    path = tflite_path(serving)
    return convert(serving, Float32(), None) if path is None else path.read_bytes()


def convert_weights(content: bytes, scheme: Scheme) -> bytes:
    """Convert the weights of a float file in a scheme without integer activations.

    Raises:
        ConversionError: The back-end refuses the file, or a weight exceeds the range of float16.
    """
    if scheme.is_float:
        return content
    if scheme.is_dynamic_range:
        return dynamic_range(content, scheme, DYNAMIC_MINIMUM_ELEMENTS)
    return _with_float16_weights(content)


def _with_float16_weights(content: bytes) -> bytes:
    """Store constants as float16, and dequantize them before the operators that read them."""
    model = read_model(content)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    # The version that reads float16.
    code.version = 3
    model.operatorCodes.append(code)
    for graph in model.subgraphs:
        added = []
        for index in range(len(graph.tensors)):
            tensor = graph.tensors[index]
            data = model.buffers[tensor.buffer].data
            large = len(tensor.shape) > 1 or int(np.prod(tensor.shape)) >= _LEAST_ELEMENTS
            if tensor.type != schema.TensorType.FLOAT32 or data is None or not large:
                continue
            graph.tensors.append(_stored(model, tensor, np.frombuffer(bytes(bytearray(data)), np.float32)))
            tensor.buffer = 0
            added.append(_dequantize(len(model.operatorCodes) - 1, len(graph.tensors) - 1, index))
        graph.operators = [*added, *graph.operators]
    return pack(model)


def _stored(model: Any, tensor: Any, values: np.ndarray[Any, np.dtype[np.float32]]) -> Any:
    """A constant tensor of float16 with these values."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest > np.finfo(np.float16).max:
        raise ConversionError(
            "a weight exceeds the range of float16",
            where=tensor.name.decode(),
            bound=f"at most {np.finfo(np.float16).max:g}",
            measured=f"{largest:g}",
            remedy="use another scheme, or train with smaller weights",
        )
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(values.astype(np.float16).tobytes(), np.uint8)
    model.buffers.append(buffer)
    stored = schema.TensorT()
    stored.name, stored.shape = tensor.name + b"_float16", tensor.shape
    stored.type, stored.buffer = schema.TensorType.FLOAT16, len(model.buffers) - 1
    return stored


def _dequantize(place: int, source: int, target: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = place, [source], [target]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator

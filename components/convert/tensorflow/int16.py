"""What the converter leaves undone of trained 16-bit activations: the types of biases, inputs and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from components.convert.compact.inline import read_model
from components.core.errors import ConversionError
from components.upstream.tflite.converter import with_integer_io
from components.upstream.tflite.objects import pack, schema

_INT16 = schema.TensorType.INT16
_SUMS = frozenset({schema.BuiltinOperator.ADD, schema.BuiltinOperator.SUB})
# Position of the bias among the inputs of the operators that have one.
_BIASES = {
    schema.BuiltinOperator.CONV_2D: 2,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 2,
    schema.BuiltinOperator.FULLY_CONNECTED: 2,
}


def with_int16_io(content: bytes, float_io: bool) -> bytes:
    """Widen biases to int64, as the kernels read them beside 16-bit activations, and drop the float border.

    The options of sums record that scales are no powers of two, which the converter leaves out here.

    The converter writes biases of models that were trained under quantization as int32 whatever the activations: some
    kernels refuse that, others read it wrongly (TensorFlow 2.16).

    Args:
        content: A TFLite file with int16 activations and float inputs and outputs.
        float_io: Whether inputs and outputs stay float.

    Returns:
        An equivalent file.

    Raises:
        ConversionError: A bias does not fit 32 bits, so it was cut off.
    """
    model = read_model(content)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for graph in model.subgraphs:
        for operator in graph.operators:
            if codes[operator.opcodeIndex] in _SUMS and graph.tensors[operator.inputs[0]].type == _INT16:
                # Their kernels take other scales than powers of two only when their options say so.
                operator.builtinOptions.potScaleInt16 = False
            place = _BIASES.get(codes[operator.opcodeIndex])
            if place is None or len(operator.inputs) <= place or operator.inputs[place] < 0:
                continue
            if graph.tensors[operator.inputs[0]].type == _INT16:
                _widen(model, graph.tensors[operator.inputs[place]])
    content = pack(model)
    return content if float_io else with_integer_io(content, tf.int16)


def _widen(model: Any, tensor: Any) -> None:
    if tensor.type != schema.TensorType.INT32:  # widened already: several operators share it
        return
    values = np.frombuffer(bytes(bytearray(model.buffers[tensor.buffer].data)), np.int32)
    limits = np.iinfo(np.int32)
    if np.any((values == limits.min) | (values == limits.max)):
        raise ConversionError(
            "a bias is too large for the scales of its layer's input and weights",
            where=(tensor.name or b"").decode(),
            bound=f"at most {limits.max} scales",
            measured=f"{int(np.abs(values.astype(np.int64)).max())} or more",
            remedy="take static_wi8_ai8 for this model, or train with smaller biases (weight decay)",
        )
    # A buffer of its own: tensors of equal content share theirs, and not all of them become wider.
    wide = schema.BufferT()
    wide.data = np.frombuffer(values.astype(np.int64).tobytes(), np.uint8)
    model.buffers.append(wide)
    tensor.buffer = len(model.buffers) - 1
    tensor.type = schema.TensorType.INT64

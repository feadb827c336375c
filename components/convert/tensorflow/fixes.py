"""Fixes defects in the converter's files.

Random order, the types of biases, inputs, and outputs of 16-bit activations, and padding and zero points that XNNPACK
misreads.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import tensorflow as tf

from components.convert.compaction import read_model
from components.convert.pins import quantize_operator
from components.core.errors import ConversionError
from components.upstream.tflite.converter import with_integer_io
from components.upstream.tflite.objects import pack, schema

_INT16 = schema.TensorType.INT16
_SUMS = frozenset({schema.BuiltinOperator.ADD, schema.BuiltinOperator.SUB})
_BUILTIN = schema.BuiltinOperator
# Position of the bias among the inputs of the operators that have one.
_BIASES = dict.fromkeys((_BUILTIN.CONV_2D, _BUILTIN.DEPTHWISE_CONV_2D, _BUILTIN.FULLY_CONNECTED), 2)

# Operators that slide a window over an image.
_WINDOWS = frozenset({_BUILTIN.CONV_2D, _BUILTIN.DEPTHWISE_CONV_2D, _BUILTIN.AVERAGE_POOL_2D, _BUILTIN.MAX_POOL_2D})


def with_valid_padding(content: bytes) -> bytes:
    """Write `VALID` where `SAME` pads nothing, which is the same operation.

    If the stride is longer than the window, so that the last positions of the input are never read, XNNPACK computes
    wrong values with `SAME` (TensorFlow 2.16).

    Args:
        content: A TFLite file.

    Returns:
        The file with such operators changed; the same bytes if there are none.
    """
    model = read_model(content)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    changed = False
    for graph in model.subgraphs:
        for operator in graph.operators:
            options = operator.builtinOptions
            if codes[operator.opcodeIndex] not in _WINDOWS or options.padding != schema.Padding.SAME:
                continue
            sizes = graph.tensors[operator.inputs[0]].shape
            if hasattr(options, "filterHeight"):
                window = (options.filterHeight, options.filterWidth)
            else:
                _, *kernel, _ = graph.tensors[operator.inputs[1]].shape
                window = (
                    (kernel[0] - 1) * options.dilationHFactor + 1,
                    (kernel[1] - 1) * options.dilationWFactor + 1,
                )
            axes = zip(sizes[1:3], window, (options.strideH, options.strideW), strict=True)
            # The window at the last position ends within the input, along both axes.
            if all((-(-size // stride) - 1) * stride + width <= size for size, width, stride in axes):
                options.padding, changed = schema.Padding.VALID, True
    return pack(model) if changed else content


def with_centered_products(content: bytes) -> bytes:
    """Requantize the second operand of products of int8 activations to a zero point of 0.

    Some versions of XNNPACK compute such products as if that zero point were 0, as it is for weights
    (`IGNORES_ZERO_POINTS`). The range becomes symmetric, so its steps are at most twice as long.

    Args:
        content: A TFLite file.

    Returns:
        The file with a QUANTIZE operator before such products; the same bytes if there are none.
    """
    model = read_model(content)
    product = {
        index
        for index, code in enumerate(model.operatorCodes)
        if max(code.builtinCode, code.deprecatedBuiltinCode) == _BUILTIN.BATCH_MATMUL
    }
    changed = False
    for graph in model.subgraphs:
        operators: list[Any] = []
        centered: dict[int, int] = {}
        for operator in graph.operators:
            if operator.opcodeIndex in product and _is_off_center(model, graph.tensors[operator.inputs[1]]):
                second = int(operator.inputs[1])
                if second not in centered:
                    graph.tensors.append(_centered(graph.tensors[second]))
                    centered[second] = len(graph.tensors) - 1
                    operators.append(quantize_operator(model, [second], [centered[second]], to_int16=False))
                operator.inputs = [int(operator.inputs[0]), centered[second]]
                changed = True
            operators.append(operator)
        graph.operators = operators
    return pack(model) if changed else content


def _is_off_center(model: Any, tensor: Any) -> bool:
    held = tensor.quantization
    if tensor.type != schema.TensorType.INT8 or model.buffers[tensor.buffer].data is not None or held is None:
        return False
    return held.zeroPoint is not None and len(held.zeroPoint) == 1 and int(held.zeroPoint[0]) != 0


def _centered(tensor: Any) -> Any:
    """A tensor of the same shape whose range covers another tensor's range and is symmetric around zero."""
    scale, zero_point = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    limits = np.iinfo(np.int8)
    made = copy.copy(tensor)
    made.name = (tensor.name or b"") + b"/centered"
    made.quantization = schema.QuantizationParametersT()
    made.quantization.scale = [scale * max(zero_point - limits.min, limits.max - zero_point) / limits.max]
    made.quantization.zeroPoint = [0]
    return made


def with_int16_io(content: bytes, float_io: bool) -> bytes:
    """Widen biases to int64, mark sums as having arbitrary scales, and make inputs and outputs int16.

    For models that were trained under quantization, the converter writes int32 biases regardless of the activations.
    With 16-bit activations, kernels expect int64: some reject int32, others misread it (TensorFlow 2.16). For sums, the
    converter also omits the option that says that scales are not powers of two.

    Args:
        content: A TFLite file with int16 activations and float inputs and outputs.
        float_io: Whether inputs and outputs stay in float.

    Raises:
        ConversionError: A bias does not fit in 32 bits, so the converter clipped it.
    """
    model = read_model(content)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for graph in model.subgraphs:
        for operator in graph.operators:
            if codes[operator.opcodeIndex] in _SUMS and graph.tensors[operator.inputs[0]].type == _INT16:
                # By default, kernels of sums expect scales that are powers of two.
                operator.builtinOptions.potScaleInt16 = False
            place = _BIASES.get(codes[operator.opcodeIndex])
            if place is None or len(operator.inputs) <= place or operator.inputs[place] < 0:
                continue
            if graph.tensors[operator.inputs[0]].type == _INT16:
                _widen(model, graph.tensors[operator.inputs[place]])
    content = pack(model)
    return content if float_io else with_integer_io(content, tf.int16)


def _widen(model: Any, tensor: Any) -> None:
    if tensor.type != schema.TensorType.INT32:  # Already widened: several operators share it.
        return
    values = np.frombuffer(bytes(bytearray(model.buffers[tensor.buffer].data)), np.int32)
    limits = np.iinfo(np.int32)
    if np.any((values == limits.min) | (values == limits.max)):
        raise ConversionError(
            "a bias is too large for the scales of its layer's input and weights",
            where=(tensor.name or b"").decode(),
            bound=f"at most {limits.max} scales",
            measured=f"{int(np.abs(values.astype(np.int64)).max())} or more",
            remedy="use static_wi8_ai8 for this model, or train with smaller biases (weight decay)",
        )
    # Add a buffer, because tensors with equal content share one, and not all of them are widened.
    wide = schema.BufferT()
    wide.data = np.frombuffer(values.astype(np.int64).tobytes(), np.uint8)
    model.buffers.append(wide)
    tensor.buffer = len(model.buffers) - 1
    tensor.type = schema.TensorType.INT64


def with_sorted_dequantization(content: bytes) -> bytes:
    """Put DEQUANTIZE operators of constants first, and sort them and their outputs by the index of the constant.

    The older of TensorFlow's two quantizers adds them in the order of memory addresses.
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

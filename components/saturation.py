"""Which share of a model's output values sits at an end of the integers that hold it. Imports TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from components.examples import Inputs
from components.interpreter import TFLiteModel, quantize

# They return the values they take, in another order or shape, or as floats.
_PASSING = frozenset({"DEQUANTIZE", "EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"})
# The whole range of their results has an integer: an end of it is a value like any other.
_FIXED = frozenset({"L2_NORMALIZATION", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"})
# Activations that end at a value of their own.
_TOPS = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0, "RELU_0_TO_1": 1.0}
_TYPES: dict[int, type[np.signedinteger[Any] | np.unsignedinteger[Any]]] = {
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
}
_BUILTINS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_ACTIVATIONS = {value: name for name, value in vars(schema.ActivationFunctionType).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Grid:
    """The integers that hold an output's values.

    Attributes:
        scale, zero_point: A real value is scale x (integer - zero_point).
        dtype: NumPy's.
        low_loses, high_loses: Whether a value at this end may have been one beyond it.
    """

    scale: float
    zero_point: int
    dtype: type[np.signedinteger[Any] | np.unsignedinteger[Any]]
    low_loses: bool
    high_loses: bool


def saturated_share(content: bytes, sample: Inputs) -> float | None:
    """The share of a file's output values that sit at an end of its range, where a value beyond would be lost.

    Args:
        content: The file, with one output; of integers, or of floats that were integers (`float_io`).
        sample: Inputs, [N, ...] in real values.

    Returns:
        None if no integers hold the output, or their range is all that the operator can return.
    """
    model = TFLiteModel(content)
    (name,) = model.output_names
    grid = output_grid(content, model.output_index(name))
    if grid is None:
        return None
    outputs = model.predict(sample)[name]
    if not outputs.size:
        return None
    bounds, raw = np.iinfo(grid.dtype), quantize(outputs, grid.scale, grid.zero_point, grid.dtype)
    lost = ((raw == bounds.max) & grid.high_loses) | ((raw == bounds.min) & grid.low_loses)
    return float(lost.mean())


def output_grid(content: bytes, index: int) -> Grid | None:
    """The integers that hold an output; None if none do, or if they hold whatever its operator can return.

    Args:
        content: The file.
        index: Of the output's tensor in the main subgraph.
    """
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(place) for place in range(graph.OperatorsLength())]
    makers = {operator.Outputs(place): operator for operator in operators for place in range(operator.OutputsLength())}
    tensor, maker = graph.Tensors(index), makers.get(index)
    held = tensor if _is_quantized(tensor) else None
    while maker is not None and _kind(model, maker) in _PASSING:
        index = maker.Inputs(0)
        tensor, maker = graph.Tensors(index), makers.get(index)
        held = held or (tensor if _is_quantized(tensor) else None)
    kind = _kind(model, maker) if maker is not None else ""
    if held is None or kind in _FIXED:
        return None
    scale, zero_point = float(held.Quantization().Scale(0)), int(held.Quantization().ZeroPoint(0))
    dtype = _TYPES[held.Type()]
    bounds = np.iinfo(dtype)
    top = _TOPS.get(kind) or _TOPS.get(_fused(maker))
    return Grid(
        scale=scale,
        zero_point=zero_point,
        dtype=dtype,
        # Zero as an end is what a ReLU returns.
        low_loses=zero_point != bounds.min,
        high_loses=top is None or scale * (bounds.max - zero_point) < top - scale,
    )


def _is_quantized(tensor: schema.Tensor) -> bool:
    quantization = tensor.Quantization()
    return tensor.Type() in _TYPES and quantization is not None and quantization.ScaleLength() == 1


def _kind(model: schema.Model, operator: schema.Operator) -> str:
    code = model.OperatorCodes(operator.OpcodeIndex())
    return _BUILTINS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]


def _fused(operator: schema.Operator | None) -> str:
    """The activation that an operator applies to its own result; "" for none."""
    if operator is None or operator.BuiltinOptions() is None:
        return ""
    options = schema.BuiltinOptionsCreator(operator.BuiltinOptionsType(), operator.BuiltinOptions())
    return _ACTIVATIONS.get(getattr(options, "fusedActivationFunction", None), "")

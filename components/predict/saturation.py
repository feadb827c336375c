"""Measures the share of a model's output values that are at an end of their quantized range. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.data.examples import Inputs
from components.model.tflite_runtime import TFLiteModel
from components.ranges.affine import quantize
from components.upstream.tflite.objects import pack, schema, unpack

# Operators that return their input values in a different order or shape, or as floats.
_PASSING = frozenset({"DEQUANTIZE", "EXPAND_DIMS", "RESHAPE", "SQUEEZE", "TRANSPOSE"})
# Operators whose quantized range covers all possible results, so values at its ends aren't clipped.
_FIXED = frozenset({"L2_NORMALIZATION", "LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"})
# Operators whose inputs have their own ranges: values clipped in an input need not be at an end of the result's range.
_MADE_OF_INPUTS = frozenset(
    {"ABS", "ADD", "ADD_N", "AVERAGE_POOL_2D", "CONCATENATION", "DIV", "LEAKY_RELU", "MEAN", "MUL", "NEG", "PRELU"}
    | {"QUANTIZE", "SUB", "SUM"}
)
# Upper limits of activations.
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
    """The quantization of a tensor.

    Attributes:
        scale, zero_point: A real value is scale x (integer - zero_point).
        dtype: NumPy's integer type.
        low_loses, high_loses: Whether a value at this end may have been clipped.
    """

    scale: float
    zero_point: int
    dtype: type[np.signedinteger[Any] | np.unsignedinteger[Any]]
    low_loses: bool
    high_loses: bool


@dataclass(frozen=True)
class Count:
    """The number of values at an end of their range, and of all values."""

    lost: int
    values: int

    def __add__(self, other: Count) -> Count:
        return Count(self.lost + other.lost, self.values + other.values)


# Name of an output, and index of its tensor or of a tensor that it is computed from -> count of the tensor's values.
Counts = dict[tuple[str, int], Count]


class Saturation:
    """Counts values at an end of their range, in a file's outputs and in the tensors that they are computed from.

    Args:
        content: The file, with outputs of integers, or of floats dequantized from integers (`float_io`).
        model: The loaded file.
    """

    def __init__(self, content: bytes, model: TFLiteModel) -> None:
        self._outputs = {name: model.output_index(name) for name in model.output_names}
        self._grids = {
            (name, index): grid
            for name, output in self._outputs.items()
            for index, grid in ends(content, output).items()
        }
        self._inside = sorted({index for _, index in self._grids} - set(self._outputs.values()))
        # The file doesn't return inner tensors, so load a version that does. Streaming models are excluded because
        # their states are matched by output names.
        seen = bool(self._inside) and not model.streaming
        self._opened = TFLiteModel(_returning(content, self._inside)) if seen else None

    @property
    def looks_inside(self) -> bool:
        """Whether `inside` counts anything, which requires running the examples again."""
        return self._opened is not None

    def outputs(self, values: Mapping[str, npt.NDArray[Any]]) -> Counts:
        """Count output values, given as the real values [N, ...] that the model returned."""
        places = {name: (name, self._outputs[name]) for name in values}
        return {
            place: _count(self._grids[place], values[name])
            for name, place in places.items()
            if place in self._grids and values[name].size
        }

    def inside(self, inputs: Inputs) -> Counts:
        """Count the values of the tensors that the outputs are computed from, for inputs [N, ...]."""
        if self._opened is None:
            return {}
        names = {self._opened.output_index(name): name for name in self._opened.output_names}
        found = self._opened.predict(inputs)
        return {
            (output, index): _count(grid, found[names[index]])
            for (output, index), grid in self._grids.items()
            if index in self._inside and index in names
        }


def merged(counts: Iterable[Counts]) -> Counts:
    """Add up the counts of different examples."""
    total: Counts = {}
    for each in counts:
        for place, count in each.items():
            total[place] = total.get(place, Count(0, 0)) + count
    return total


def shares(counts: Counts) -> dict[str, float]:
    """Output -> the largest share of any of its tensors, except outputs without a range that can clip values."""
    found: dict[str, float] = {}
    for (output, _), count in counts.items():
        if count.values:
            found[output] = max(found.get(output, 0.0), count.lost / count.values)
    return found


def scales_of(content: bytes) -> dict[str, float]:
    """Return the size of one step of each output, without those that aren't quantized or have a fixed range."""
    model = TFLiteModel(content)
    places = {name: model.output_index(name) for name in model.output_names}
    grids = {name: ends(content, place).get(place) for name, place in places.items()}
    return {name: grid.scale for name, grid in grids.items() if grid is not None}


def ends(content: bytes, output: int) -> dict[int, Grid]:
    """Find the quantization of an output and of the tensors that it is computed from.

    Args:
        content: The file.
        output: Index of the output's tensor in the main subgraph.

    Returns:
        Tensor index -> quantization, without tensors that aren't quantized or whose range covers all possible results.
    """
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(place) for place in range(graph.OperatorsLength())]
    makers = {operator.Outputs(place): operator for operator in operators for place in range(operator.OutputsLength())}
    found: dict[int, Grid] = {}
    pending, seen = [output], set[int]()
    while pending:
        index = first = pending.pop()
        if first in seen:
            continue
        seen.add(first)
        tensor, maker = graph.Tensors(index), makers.get(index)
        held = tensor if _is_quantized(tensor) else None
        while maker is not None and _kind(model, maker) in _PASSING:
            index = maker.Inputs(0)
            tensor, maker = graph.Tensors(index), makers.get(index)
            held = held or (tensor if _is_quantized(tensor) else None)
        kind = _kind(model, maker) if maker is not None else ""
        if kind in _FIXED or (maker is None and first != output):
            # Model inputs are legitimately at the ends of their range, such as white pixels.
            continue
        if held is not None:
            found[first] = _grid(held, _TOPS.get(kind) or _TOPS.get(_fused(maker)))
        if maker is not None and kind in _MADE_OF_INPUTS:
            sources = [maker.Inputs(place) for place in range(maker.InputsLength())]
            # Skip scalars: they don't belong to an example.
            pending += [source for source in sources if source in makers and graph.Tensors(source).ShapeLength()]
    return found


def _grid(tensor: schema.Tensor, top: float | None) -> Grid:
    scale, zero_point = float(tensor.Quantization().Scale(0)), int(tensor.Quantization().ZeroPoint(0))
    dtype = _TYPES[tensor.Type()]
    bounds = np.iinfo(dtype)
    return Grid(
        scale=scale,
        zero_point=zero_point,
        dtype=dtype,
        # If the low end is zero, the values there are the zeros of a ReLU.
        low_loses=zero_point != bounds.min,
        high_loses=top is None or scale * (bounds.max - zero_point) < top - scale,
    )


def _count(grid: Grid, values: npt.NDArray[Any]) -> Count:
    bounds, raw = np.iinfo(grid.dtype), quantize(values, grid.scale, grid.zero_point, grid.dtype)
    lost = ((raw == bounds.max) & grid.high_loses) | ((raw == bounds.min) & grid.low_loses)
    return Count(int(lost.sum()), lost.size)


def _returning(content: bytes, tensors: Sequence[int]) -> bytes:
    """Return a version of the file that also outputs these tensors."""
    model = unpack(content)
    graph = model.subgraphs[0]
    graph.outputs = [*graph.outputs, *tensors]
    for signature in model.signatureDefs or ():
        for index in tensors:
            named = schema.TensorMapT()
            named.name, named.tensorIndex = f"edgemill_inside_{index}", index
            signature.outputs.append(named)
    return pack(model)


def _is_quantized(tensor: schema.Tensor) -> bool:
    quantization = tensor.Quantization()
    return tensor.Type() in _TYPES and quantization is not None and quantization.ScaleLength() == 1


def _kind(model: schema.Model, operator: schema.Operator) -> str:
    code = model.OperatorCodes(operator.OpcodeIndex())
    return _BUILTINS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]


def _fused(operator: schema.Operator | None) -> str:
    """Return an operator's fused activation, or "" if it has none."""
    if operator is None or operator.BuiltinOptions() is None:
        return ""
    options = schema.BuiltinOptionsCreator(operator.BuiltinOptionsType(), operator.BuiltinOptions())
    return _ACTIVATIONS.get(getattr(options, "fusedActivationFunction", None), "")

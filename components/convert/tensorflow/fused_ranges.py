"""Ranges for fused LSTMs: measured from reset states, or trained. Imports TensorFlow.

It replaces TensorFlow's calibrator, which has three problems with fused LSTMs (TensorFlow 2.16). It doesn't reset their
state between examples, so the ranges are those of one endless sequence. It observes the cell state only at the end of a
sequence. It crashes on two consecutive LSTMs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from components.cells.arithmetic import LEAST_CELL_RANGE
from components.convert.compaction import read_model
from components.upstream.tflite.converter import quantize_with_ranges, replace_quantizer, with_intermediate_tensors
from components.upstream.tflite.interpreter import interpreter as new_interpreter
from components.upstream.tflite.objects import pack, schema

Array = npt.NDArray[Any]

_LSTM = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
# Operators that copy integers without rescaling.
_MOVING = frozenset({schema.BuiltinOperator.REVERSE_V2, schema.BuiltinOperator.STRIDED_SLICE})
# Indices of inputs: the weights that identify the layer, and the states.
_KERNEL, _HIDDEN, _CELL = 1, 18, 19
# Index of the intermediate tensor with the scale of the hidden state before a projection.
_EFFECTIVE_HIDDEN = 4


@dataclass(frozen=True)
class CellRanges:
    """The ranges of one LSTM.

    Attributes:
        kernel: Weights from the input to the input gate [units, features]. They identify the LSTM.
        cell: Smallest and largest value of the cell state over all time steps.
        hidden: Range of the hidden state; None uses the measured range.
        states: The float model's hidden state after each time step of `KnownRanges.sequences` [N, time, units].
    """

    kernel: Array
    cell: tuple[float, float]
    hidden: tuple[float, float] | None = None
    states: Array | None = None


@dataclass(frozen=True)
class KnownRanges:
    """Ranges that override calibrated ones.

    Attributes:
        cells: Ranges of LSTMs.
        layers: Name of a layer -> range of its output.
        inputs: Name of a model input -> its range.
        outputs: Name of a model output -> its range. Other outputs keep the measured range.
        sequences: Model input -> the sequences that the states were computed on [N, time, ...].
    """

    cells: Sequence[CellRanges] = ()
    layers: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    inputs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    outputs: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sequences: Mapping[str, Array] = field(default_factory=dict)


def quantize_fused(converter: Any, known: KnownRanges) -> None:
    """Replace the calibration and quantization of a TFLiteConverter.

    Args:
        converter: Converter with a static scheme, 8-bit activations, and a representative dataset.
        known: Ranges that override the measured ones.
    """

    def quantize(result: bytes, input_type: Any, output_type: Any, variables: bool) -> bytes:
        held = converter.representative_dataset
        measured = _measured(result, getattr(held, "input_gen", held))
        return quantize_with_ranges(converter, with_ranges(measured, known), input_type, output_type, variables)

    replace_quantizer(converter, quantize)


def _measured(content: bytes, samples: Callable[[], Iterator[Any]]) -> bytes:
    """Add the smallest and largest value of each tensor to a float file. States are reset for each example."""
    interpreter = new_interpreter(content, keeps_all_tensors=True)
    interpreter.allocate_tensors()
    inputs = interpreter.get_signature_runner().get_input_details()
    model = read_model(with_intermediate_tensors(content))
    graph = model.subgraphs[0]
    # Intermediate tensors were appended to the others, and have no values.
    held = {int(index) for operator in graph.operators for index in operator.outputs} | set(map(int, graph.inputs))
    held |= {index for index, tensor in enumerate(graph.tensors) if tensor.isVariable}
    held = {index for index in held if graph.tensors[index].type == schema.TensorType.FLOAT32}
    ends: dict[int, tuple[float, float]] = dict.fromkeys(held, (0.0, 0.0))
    for sample in samples():
        interpreter.reset_all_variables()
        for name, detail in inputs.items():
            interpreter.set_tensor(detail["index"], sample[name].astype(detail["dtype"], copy=False))
        interpreter.invoke()
        for index, (low, high) in ends.items():
            values = interpreter.get_tensor(index)
            ends[index] = (min(low, float(values.min())), max(high, float(values.max())))
    for index, found in ends.items():
        _set(graph.tensors[index], found)
    return pack(model)


def with_ranges(content: bytes, known: KnownRanges) -> bytes:
    """Override measured ranges. The hidden state and the output of an LSTM get one range: its kernel requires that."""
    model = read_model(content)
    graph = model.subgraphs[0]
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    for name, ends in known.layers.items():
        scope = re.compile(rf"(^|/){re.escape(name)}/[^/]*$")
        for operator in graph.operators:
            for index in operator.outputs:
                if any(scope.search(part) for part in graph.tensors[index].name.decode().split(";")):
                    _set(graph.tensors[index], ends)
    for name, ends in known.inputs.items():
        for index in graph.inputs:
            if graph.tensors[index].name.decode() in {f"serving_default_{name}:0", name}:
                _set(graph.tensors[index], ends)
    ends_of = {end.name.decode(): int(end.tensorIndex) for end in model.signatureDefs[0].outputs or ()}
    for name, ends in known.outputs.items():
        _set(graph.tensors[ends_of[name]], ends)
    for operator in graph.operators:
        if codes[operator.opcodeIndex] == _LSTM:
            _set_cell(model, graph, operator, known.cells)
    _unify_concatenated(graph, codes)
    _carry(graph, codes)
    return pack(model)


def _unify_concatenated(graph: Any, codes: Sequence[int]) -> None:
    """Give concatenated tensors, and the hidden states of the LSTMs that compute them, one common range.

    A concatenation requires one scale. For a bidirectional LSTM, the quantizer sets it on the outputs of both
    directions but not on their hidden states, so each time step would read the hidden state with the wrong scale.
    """
    made_by = {int(index): operator for operator in graph.operators for index in operator.outputs}
    for operator in graph.operators:
        if codes[operator.opcodeIndex] != schema.BuiltinOperator.CONCATENATION:
            continue
        sources, joined = [], [int(operator.outputs[0])]
        for index in map(int, operator.inputs):
            joined.append(index)
            while index in made_by and codes[made_by[index].opcodeIndex] in _MOVING:
                index = int(made_by[index].inputs[0])  # noqa: PLW2901
                joined.append(index)
            sources.append(index)
            source = made_by.get(index)
            if source is not None and codes[source.opcodeIndex] == _LSTM:
                joined += [int(source.inputs[_HIDDEN]), int(source.intermediates[_EFFECTIVE_HIDDEN])]
        ends = [_held(graph.tensors[index]) for index in sources if _has_range(graph.tensors[index])]
        if not ends:
            continue
        union = min(low for low, _ in ends), max(high for _, high in ends)
        for index in joined:
            # Constants have no range. They are rounded to the scale of the result.
            if _has_range(graph.tensors[index]):
                _set(graph.tensors[index], union)


def _carry(graph: Any, codes: Sequence[int]) -> None:
    """Give the outputs of operators that only move values the range of their input.

    The quantizer gives a reversal a separate range, but its kernel copies integers unchanged. If the input's range was
    overridden, all later operators would read them with the wrong scale.
    """
    for operator in graph.operators:
        source = graph.tensors[operator.inputs[0]]
        if codes[operator.opcodeIndex] in _MOVING and _has_range(source):
            _set(graph.tensors[operator.outputs[0]], _held(source))


def _set_cell(model: Any, graph: Any, operator: Any, cells: Sequence[CellRanges]) -> None:
    tensors = graph.tensors
    kernel = tensors[operator.inputs[_KERNEL]]
    values = np.frombuffer(bytes(model.buffers[kernel.buffer].data), np.float32).reshape(kernel.shape)
    mine = next((one for one in cells if one.kernel.shape == values.shape and np.allclose(one.kernel, values)), None)
    output = tensors[operator.outputs[0]]
    hidden = _held(output) if mine is None or mine.hidden is None else mine.hidden
    for tensor in (output, tensors[operator.inputs[_HIDDEN]], tensors[operator.intermediates[_EFFECTIVE_HIDDEN]]):
        _set(tensor, hidden)
    state = tensors[operator.inputs[_CELL]]
    low, high = _held(state) if mine is None else mine.cell
    _set(state, (min(low, -LEAST_CELL_RANGE), max(high, LEAST_CELL_RANGE)))


def _has_range(tensor: Any) -> bool:
    """Whether a tensor has a range: only computed float tensors and inputs do, not constants and integers."""
    return tensor.quantization is not None and tensor.quantization.min is not None and len(tensor.quantization.min) > 0


def _held(tensor: Any) -> tuple[float, float]:
    return float(tensor.quantization.min[0]), float(tensor.quantization.max[0])


def _set(tensor: Any, ends: tuple[float, float]) -> None:
    if tensor.quantization is None:
        tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.min, tensor.quantization.max = ([np.float32(end)] for end in ends)

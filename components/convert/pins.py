"""Gives a converted file the quantization of inputs and outputs that a device's firmware fixes. Imports TensorFlow.

No converter accepts given scales. So the file gets a QUANTIZE operator between a pinned input and the tensor that
the converter quantized, and between such a tensor and a pinned output. It converts integers to integers (Jacob et al.
2018, arXiv:1712.05877, section 2.2), and adds at most half a step of its output to the error.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from components.convert.compaction import AlignedBuffer, packed, read_model
from components.convert.representative import load_sample
from components.core.errors import ConversionError, one_of
from components.facts.conversion import PinnedFact
from components.model.streaming import state_pairs
from components.model.tflite_runtime import TFLiteModel
from components.spec.devices.pinned import PinnedTensor, Pins
from components.upstream.tflite.objects import schema

_TYPES = {"int8": schema.TensorType.INT8, "uint8": schema.TensorType.UINT8, "int16": schema.TensorType.INT16}
_MOST_EXAMPLES = 256
# The tolerance of the gate when it compares scales.
_RELATIVE = 1e-4
_Examples = Iterator[tuple[Mapping[str, npt.NDArray[Any]], Mapping[str, npt.NDArray[Any]]]]


def with_pins(content: bytes, pins: Pins) -> bytes:
    """Requantize the pinned inputs and outputs of a file. Those that already have the pinned values don't change.

    Raises:
        ConversionError: The file has no such input or output, or it is not a tensor of integers with one scale.
    """
    model = read_model(content)
    graph = model.subgraphs[0]
    changed = [
        *(_pin(model, graph, "input", pinned) for pinned in pins.inputs),
        *(_pin(model, graph, "output", pinned) for pinned in pins.outputs),
    ]
    if not any(changed):
        return content
    model.buffers = [
        AlignedBuffer(None if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes())
        for buffer in model.buffers
    ]
    return packed(model, len(content))


def measured_pins(
    content: bytes, pinned_content: bytes, pins: Pins, examples: _Examples | None
) -> tuple[PinnedFact, ...]:
    """How much the pinned ranges clip.

    Args:
        content: The file without pins.
        pinned_content: The file with pins.
        pins: The pins.
        examples: The calibration sample, whose first 256 examples are run, or None.

    Raises:
        ConversionError: A range clips more than its `max_clipped`.
    """
    before, after = TFLiteModel(content), TFLiteModel(pinned_content)
    inputs: Mapping[str, npt.NDArray[Any]] = {}
    outputs: Mapping[str, npt.NDArray[Any]] = {}
    if examples is not None:
        inputs = load_sample(examples, before.input_names, None).first(_MOST_EXAMPLES).inputs
        outputs = before.predict(inputs)
    found = []
    for kind, tensors, names, values in (
        ("input", pins.inputs, before.input_names, inputs),
        ("output", pins.outputs, before.output_names, outputs),
    ):
        for pinned in tensors:
            name = pinned.name or names[0]
            own = values.get(name)
            clipped = None if own is None else _clipped(own, pinned)
            if own is not None and clipped is not None and clipped > pinned.max_clipped:
                raise _clips(kind, name, pinned, own, clipped)
            scale, zero_point = before.quantization(kind, name)
            added = (scale, zero_point) != after.quantization(kind, name)
            found.append(
                PinnedFact(
                    kind="input" if kind == "input" else "output",
                    name=name,
                    dtype=pinned.dtype,
                    scale=pinned.scale,
                    zero_point=pinned.zero_point,
                    converted_scale=scale,
                    converted_zero_point=zero_point,
                    requantized=added,
                    clipped=clipped,
                )
            )
    return tuple(found)


def _pin(model: Any, graph: Any, kind: str, pinned: PinnedTensor) -> bool:
    border = graph.inputs if kind == "input" else graph.outputs
    index = _place(model, graph, kind, pinned)
    tensor = graph.tensors[index]
    held = tensor.quantization
    scales = [] if held is None or held.scale is None else [float(scale) for scale in held.scale]
    if tensor.type not in _TYPES.values() or len(scales) != 1:
        raise ConversionError(
            f"the {kind} {_name(model, graph, kind, index)!r} is not an integer tensor with one scale, so its "
            "quantization cannot be pinned",
            where=f"pinned_{kind}s of the device profile",
            bound=f"{pinned.dtype} with scale {pinned.scale:g} and zero point {pinned.zero_point}",
            measured=_type_name(tensor.type),
            remedy="use a static scheme without float_io for this device",
        )
    zero_point = int(held.zeroPoint[0]) if held.zeroPoint is not None and len(held.zeroPoint) else 0
    same_scale = math.isclose(scales[0], pinned.scale, rel_tol=_RELATIVE)
    if tensor.type == _TYPES[pinned.dtype] and same_scale and zero_point == pinned.zero_point:
        return False
    narrow = tensor.type != schema.TensorType.INT16
    if not (Pins(inputs=(pinned,)) if kind == "input" else Pins(outputs=(pinned,))).fits(8 if narrow else 16):
        raise ConversionError(
            f"TensorFlow Lite has no kernel that makes the {kind} {_name(model, graph, kind, index)!r} {pinned.dtype}",
            where=f"pinned_{kind}s of the device profile",
            bound="an integer type that is not narrower than the tensor after it",
            measured=f"{pinned.dtype} and {_type_name(tensor.type)}",
            remedy="use a scheme with other activations for this device",
        )
    outside = copy.copy(tensor)
    outside.type = _TYPES[pinned.dtype]
    outside.quantization = schema.QuantizationParametersT()
    outside.quantization.scale, outside.quantization.zeroPoint = [pinned.scale], [pinned.zero_point]
    # The outer tensor keeps the name, by which programs find it.
    tensor.name = (tensor.name or b"") + b"/requantized"
    graph.tensors.append(outside)
    new = len(graph.tensors) - 1
    ends = ([new], [index]) if kind == "input" else ([index], [new])
    operator = quantize_operator(model, *ends, to_int16=_TYPES["int16"] == graph.tensors[ends[1][0]].type)
    graph.operators = [operator, *graph.operators] if kind == "input" else [*graph.operators, operator]
    replaced = [new if each == index else int(each) for each in border]
    if kind == "input":
        graph.inputs = replaced
    else:
        graph.outputs = replaced
    for each in _signature(model, kind):
        if each.tensorIndex == index:
            each.tensorIndex = new
    return True


def quantize_operator(model: Any, taken: list[int], given: list[int], *, to_int16: bool) -> Any:
    """Create a QUANTIZE operator from one tensor of integers to another, and its code if the model lacks it."""
    code = schema.BuiltinOperator.QUANTIZE
    version = 2 if to_int16 else 1
    held = [each.builtinCode == code and each.version == version for each in model.operatorCodes]
    if True not in held:
        added = schema.OperatorCodeT()
        added.builtinCode = added.deprecatedBuiltinCode = code
        added.version = version
        model.operatorCodes.append(added)
        held.append(True)
    operator = schema.OperatorT()
    operator.opcodeIndex = held.index(True)
    operator.inputs, operator.outputs = taken, given
    operator.builtinOptionsType = schema.BuiltinOptions.QuantizeOptions
    operator.builtinOptions = schema.QuantizeOptionsT()
    return operator


def _ends(graph: Any) -> tuple[tuple[str, Any], ...]:
    return ("input", graph.inputs), ("output", graph.outputs)


def _place(model: Any, graph: Any, kind: str, pinned: PinnedTensor) -> int:
    border = [int(each) for each in (graph.inputs if kind == "input" else graph.outputs)]
    names = {index: _name(model, graph, kind, index) for index in border}
    others = [_name(model, graph, other, int(index)) for other, ends in _ends(graph) for index in ends if other != kind]
    # A state has the same quantization as input and output, because the program copies its bytes.
    pairs = state_pairs(*((names.values(), others) if kind == "input" else (others, names.values())))
    states = {*pairs, *pairs.values()}
    border = [index for index in border if names[index] not in states]
    held = {index: (graph.tensors[index].name or b"").decode() for index in border}
    wanted = [index for index in border if pinned.name in (None, names[index], held[index])]
    if len(wanted) == 1:
        return wanted[0]
    raise ConversionError(
        f"the device pins the {kind} {pinned.name!r}, which the model does not have"
        if pinned.name is not None
        else f"the device pins an {kind} without a name, but the model has {len(border)}",
        where=f"pinned_{kind}s of the device profile",
        bound=one_of(sorted(names[index] for index in border)),
        measured=pinned.name or "no name",
        remedy="correct `name` in the device profile",
    )


def _name(model: Any, graph: Any, kind: str, index: int) -> str:
    for each in _signature(model, kind):
        if each.tensorIndex == index:
            return str(each.name.decode() if isinstance(each.name, bytes) else each.name)
    return (graph.tensors[index].name or b"").decode()


def _signature(model: Any, kind: str) -> list[Any]:
    defined = model.signatureDefs or []
    if len(defined) != 1:
        return []
    return list((defined[0].inputs if kind == "input" else defined[0].outputs) or [])


def _type_name(number: int) -> str:
    return next(name for name, value in vars(schema.TensorType).items() if value == number)


def _clipped(values: npt.NDArray[Any], pinned: PinnedTensor) -> float:
    low, high = pinned.real_range
    half = pinned.scale / 2
    return float(np.mean((values < low - half) | (values > high + half))) if values.size else 0.0


def _clips(kind: str, name: str, pinned: PinnedTensor, values: npt.NDArray[Any], clipped: float) -> ConversionError:
    low, high = pinned.real_range
    where = "decode()" if kind == "input" else "the model"
    return ConversionError(
        f"the pinned range of the {kind} {name!r} clips {clipped:.3%} of the calibration sample's values",
        where=f"pinned_{kind}s of the device profile",
        bound=f"at most {pinned.max_clipped:.3%} outside {low:.6g} to {high:.6g}",
        measured=f"values from {values.min():.6g} to {values.max():.6g}",
        remedy=f"make {where} return values in that range, correct scale and zero_point, or raise max_clipped",
    )

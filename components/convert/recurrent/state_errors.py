"""Errors of the states of a recurrent file relative to the float model, per time step. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from components.core.errors import ConversionError
from components.facts.conversion import StateErrors
from components.facts.streaming import StateTensor, StreamingContract
from components.model.streaming import STATE_TENSOR, state_name
from components.model.tflite_file import fused_outputs
from components.model.tflite_runtime import TFLiteModel
from components.ranges.affine import dequantize
from components.upstream.tflite.interpreter import interpreter as new_interpreter

if TYPE_CHECKING:
    from components.convert.tensorflow.fused_ranges import KnownRanges

Array = npt.NDArray[Any]


def streaming_contract(content: bytes) -> StreamingContract | None:
    """The input and output contract of a streaming file; None for any other file.

    Raises:
        ConversionError: The output of a state has a different type or scale than its input.
    """
    model = TFLiteModel(content)
    if not model.streaming:
        return None
    states = []
    for taken, given in model.state_details():
        border = [
            {
                "shape": tuple(int(size) for size in detail["shape"]),
                "dtype": np.dtype(detail["dtype"]).name,
                "scale": float(detail["quantization"][0]),
                "zero_point": int(detail["quantization"][1]),
            }
            for _, detail in (taken, given)
        ]
        if border[0] != border[1]:
            raise ConversionError(
                f"the output of the state {taken[0]} has a different type or scale than its input, so each frame "
                "would round it again",
                where=taken[0],
                bound=border[0],
                measured=border[1],
                remedy="report a bug, and attach the model",
            )
        states.append(StateTensor(input=taken[0], output=given[0], **border[0]))
    return StreamingContract(frames=model.input_names, states=tuple(states), outputs=model.output_names)


def state_errors(content: bytes, inputs: Mapping[str, Array], states: Mapping[str, Array]) -> StateErrors:
    """Run sequences through a file and compare its states with the float model's.

    Args:
        content: A file in either form.
        inputs: Model input -> [N, time, ...].
        states: `state_name` -> the float model's states after each time step [N, time, units].

    Raises:
        ConversionError: A state of the sequence form cannot be found in the file.
    """
    model = TFLiteModel(content)
    found = model.trace(inputs) if model.streaming else _traced(content, inputs, states)
    return _compared(found, states)


def fused_state_errors(content: bytes, known: KnownRanges) -> StateErrors | None:
    """Run sequences through a file with fused LSTMs and compare their hidden states with the float model's.

    A fused LSTM outputs its hidden state after each time step, even if the model uses only the last one. Its cell state
    is not visible.

    Args:
        content: An integer file.
        known: The float model's hidden states, and the sequences that they were computed on.

    Returns:
        None if there are no states to compare with.

    Raises:
        ConversionError: An LSTM cannot be found in the file.
    """
    cells = [cell for cell in known.cells if cell.states is not None]
    if not cells:
        return None
    interpreter = _watched(content)
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    wanted: dict[str, Array] = {}
    places: dict[str, int] = {}
    for kernel, output in fused_outputs(content):
        detail = details[kernel]
        weights = dequantize(interpreter.get_tensor(kernel), *detail["quantization"])
        for number, cell in enumerate(cells):
            # Rounding changes each weight by less than one step.
            if cell.kernel.shape == weights.shape and np.abs(cell.kernel - weights).max() <= detail["quantization"][0]:
                wanted[f"{number}"], places[f"{number}"] = np.asarray(cell.states), output
    if len(places) != len(cells):
        raise ConversionError(
            "an LSTM cannot be found in the file by its weights",
            where="LSTM",
            bound=f"{len(cells)} fused operators",
            measured=f"{len(places)} of them found",
            remedy="report a bug, and attach the model",
        )
    found = {name: np.zeros(states.shape, np.float32) for name, states in wanted.items()}
    for position in _run_each(interpreter, content, known.sequences):
        for name, index in places.items():
            found[name][position] = dequantize(interpreter.get_tensor(index)[0], *details[index]["quantization"])
    return _compared(found, wanted)


def _compared(found: Mapping[str, Array], states: Mapping[str, Array]) -> StateErrors:
    square, worst = [], []
    for name, wanted in states.items():
        error = found[name].astype(np.float64) - wanted
        scale = float(np.sqrt(np.mean(wanted.astype(np.float64) ** 2))) or 1.0
        square.append(np.sqrt(np.mean(error**2, axis=(0, 2))) / scale)
        worst.append(np.abs(error).max(axis=(0, 2)) / scale)
    return StateErrors(
        examples=len(next(iter(states.values()))), rms=_largest_of_each_step(square), worst=_largest_of_each_step(worst)
    )


def _largest_of_each_step(errors: list[Array]) -> tuple[float, ...]:
    """The largest error after each time step. Recurrent layers can run over sequences of different lengths."""
    return tuple(float(max(values)) for values in zip_longest(*errors, fillvalue=0.0))


def _traced(content: bytes, inputs: Mapping[str, Array], states: Mapping[str, Array]) -> dict[str, Array]:
    """The states inside a file of the `sequence` form."""
    interpreter = _watched(content)
    places: dict[str, dict[int, Any]] = {}
    for detail in interpreter.get_tensor_details():
        for layer, index, state in STATE_TENSOR.findall(detail["name"]):
            for name in states:
                if _is_of(name, layer, state):
                    places.setdefault(name, {})[int(index)] = detail
    for name, wanted in states.items():
        missing = sorted(set(range(wanted.shape[1])) - set(places.get(name, {})))
        if missing:
            raise ConversionError(
                f"the state {name} after time step {missing[0]} cannot be found in the file",
                where=name,
                bound="a tensor for each time step",
                measured=f"{len(places.get(name, {}))} of {wanted.shape[1]}",
                remedy="report a bug, and attach the model",
            )
    found = {name: np.zeros(wanted.shape, np.float32) for name, wanted in states.items()}
    for position in _run_each(interpreter, content, inputs):
        for name, steps in places.items():
            for index, detail in steps.items():
                value = interpreter.get_tensor(detail["index"])[0]
                scale, zero_point = detail["quantization"]
                found[name][position, index] = dequantize(value, scale, zero_point) if scale else value
    return found


def _watched(content: bytes) -> Any:
    """An interpreter that preserves all tensors."""
    interpreter = new_interpreter(content, keeps_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


def _run_each(interpreter: Any, content: bytes, inputs: Mapping[str, Array]) -> Iterator[int]:
    """Run each sequence from a reset state, and yield its index afterward."""
    runner = TFLiteModel(content)
    details = interpreter.get_signature_runner().get_input_details()
    for position in range(len(next(iter(inputs.values())))):
        interpreter.reset_all_variables()
        for name, detail in details.items():
            raw = runner.to_raw(name, inputs[name][position : position + 1])
            interpreter.set_tensor(detail["index"], raw)
        interpreter.invoke()
        yield position


def _is_of(name: str, path: str, state: str) -> bool:
    """Whether a state belongs to the layer at the end of a scope path. Layer names may also contain slashes."""
    parts = path.split("/")
    return any(state_name("/".join(parts[start:]), state) == name for start in range(len(parts)))

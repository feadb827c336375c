"""Runs a file under XNNPACK, and compares its outputs with those of TensorFlow Lite's own kernels.

Some operators have kernels that compute garbage without an error, in some versions. Two independent implementations
rarely make the same mistake, so a gross difference shows one, regardless of the devices in the pipeline file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from components.facts.differences import OutputDifference
from components.model.batch_probe import random_values
from components.model.differences import difference
from components.model.tflite_flags import by_name
from components.ranges.affine import Array, quantize
from components.upstream.tflite.interpreter import interpreter

# Examples that a file runs on.
COMPARED = 8
# An index, such as the index of the highest score, can change by any amount at near ties. A fault changes most values.
_FEW = 0.25


def does_not_run(content: bytes) -> list[str]:
    """Invoke the file once on zeros, in the evaluator's runtime. Returns the error, or an empty list."""
    try:
        runtime = interpreter(content, delegates=True)
        runtime.allocate_tensors()
        for detail in runtime.get_input_details():
            # Uninitialized memory may contain token IDs outside the vocabulary.
            runtime.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        runtime.invoke()
    except (RuntimeError, ValueError) as error:
        return [f"TensorFlow Lite's runtime rejects it: {str(error).strip()[:600]}"]
    return []


def gross_differences(content: bytes, examples: Mapping[str, Array] | None) -> list[str]:
    """List the outputs that differ by more than rounding between the two sets of kernels, with figures.

    Args:
        content: A file that XNNPACK runs.
        examples: Input -> real values [N, ...]. If it is None or doesn't fit the file, such as complete sequences for a
            file of one time step, random values are used.
    """
    try:
        fast, scales = _outputs(content, examples, delegates=True)
        own, _ = _outputs(content, examples, delegates=False)
    except (RuntimeError, ValueError):
        # Only one of the two has kernels for all operators, so there is nothing to compare.
        return []
    found = [compared(name, own[name], fast[name], scales[name]) for name in own]
    return [_in_words(one) for one in found if is_fault(one)]


def is_fault(found: OutputDifference) -> bool:
    """Whether an output differs by more than rounding can explain."""
    return found.gross and found.differing > _FEW


def compared(name: str, expected: Array, found: Array, scale: float | None) -> OutputDifference:
    """The difference of one output [N, ...] between TensorFlow Lite's own kernels and XNNPACK."""
    if expected.dtype.kind == "f":
        # An infinity or NaN in both is not a difference, even if the order of additions leads to different ones.
        neither = ~np.isfinite(expected) & ~np.isfinite(found)
        expected, found = np.where(neither, 0, expected), np.where(neither, 0, found)
    with np.errstate(invalid="ignore", over="ignore"):
        return difference(name, expected, found, scale)


def _in_words(found: OutputDifference) -> str:
    return (
        f"XNNPACK and TensorFlow Lite's own kernels compute different values of the output {found.output!r}: they "
        f"differ by {found.mean_lsb:.3g} steps on average over {COMPARED} examples, and at most {found.gross_lsb:.3g} "
        f"can be due to rounding (the largest difference is {found.max_lsb:.3g}). One of them is wrong, or the model "
        "draws random "
        "numbers"
    )


def _outputs(
    content: bytes, examples: Mapping[str, Array] | None, *, delegates: bool
) -> tuple[dict[str, Array], dict[str, float | None]]:
    """The raw outputs [N, ...] of a file by name, and their scales."""
    runtime = interpreter(content, delegates=delegates)
    runtime.allocate_tensors()
    inputs, outputs = by_name(runtime, "inputs"), by_name(runtime, "outputs")
    random = np.random.default_rng(0)
    kept: dict[str, list[Array]] = {name: [] for name in outputs}
    for index in range(COMPARED):
        for name, detail in inputs.items():
            real = (examples or {}).get(name, (examples or {}).get("") if len(inputs) == 1 else None)
            if real is None or real.shape[1:] != tuple(detail["shape"][1:]):
                values = random_values(detail, detail["shape"], random)
            else:
                values = _raw(detail, real[[index % len(real)]])
            runtime.set_tensor(detail["index"], values)
        runtime.reset_all_variables()
        runtime.invoke()
        for name, detail in outputs.items():
            kept[name].append(np.array(runtime.get_tensor(detail["index"])))
    scales = {name: float(detail["quantization"][0]) or None for name, detail in outputs.items()}
    return {name: np.stack(values) for name, values in kept.items()}, scales


def _raw(detail: Mapping[str, Any], values: Array) -> Array:
    scale, zero_point = detail["quantization"]
    return quantize(values, scale, zero_point, detail["dtype"]) if scale else values.astype(detail["dtype"])

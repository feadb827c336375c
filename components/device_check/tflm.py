"""TensorFlow Lite for microcontrollers on one candidate, beside the desktop runtime.

The interpreter of the package `tflite-micro` has the reference kernels of TensorFlow Lite for microcontrollers (David
et al. 2021, arXiv:2010.08678), so its outputs are those of a device without optimized kernels.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.device_check.child import MODEL_FILE
from components.device_check.tflm_child import ARENA_FILE, INPUTS_FILE, LOOP_FILE, OUTPUTS_FILE, allocations
from components.device_check.tool import run_tool
from components.facts.device import OutputDifference, TflmFacts, TflmOutcome, ToolFailure
from components.model.tflite_runtime import TFLiteModel
from components.spec.devices.device_tools import TflmEvaluator

Array = npt.NDArray[Any]


def measure_with_tflm(content: bytes, inputs: Mapping[str, Array], evaluator: TflmEvaluator) -> TflmOutcome:
    """Run a file; one of a single time step through whole sequences, with TFLM's own states.

    Args:
        content: The TFLite file; the desktop runtime must take it.
        inputs: Input name -> array [N, ...] in real values, as `TFLiteModel.predict` takes them.
        evaluator: The time-out.

    Returns:
        Facts, or why there are none.

    Raises:
        ModelError, DataError: From the desktop runtime.
    """
    desktop = TFLiteModel(content)
    given = desktop.to_tensors(inputs)
    expected = desktop.predict_tensors(given)
    with tempfile.TemporaryDirectory(prefix="edgemill-tflm-") as name:
        folder = Path(name)
        (folder / MODEL_FILE).write_bytes(content)
        taken, returned = desktop.tensor_names
        arrays = {**given, **desktop.zero_states(1)}
        np.savez(folder / INPUTS_FILE, **{str(index): arrays[name] for index, name in enumerate(taken)})
        if desktop.streaming:
            pairs = [(taken.index(a), returned.index(b)) for (a, _), (b, _) in desktop.state_details()]
            (folder / LOOP_FILE).write_text(json.dumps(pairs))
        said = run_tool("TensorFlow Lite Micro", "tflm", folder, evaluator.timeout_s)
        if isinstance(said, ToolFailure):
            return said
        with np.load(folder / OUTPUTS_FILE) as stored:
            found = {name: stored[str(index)] for index, name in enumerate(returned)}
        if desktop.streaming and not desktop.each_step:
            found = {name: values[:, -1] for name, values in found.items()}
        persistent, non_persistent = allocations(said)
        return TflmFacts(
            arena_bytes=int((folder / ARENA_FILE).read_text()),
            persistent_bytes=persistent,
            non_persistent_bytes=non_persistent,
            examples=len(next(iter(expected.values()))),
            outputs=tuple(
                difference(output, values, found[output], desktop.output_scale(output))
                for output, values in expected.items()
            ),
        )


def difference(output: str, expected: Array, found: Array, scale: float | None) -> OutputDifference:
    """Two runtimes' values of one output.

    Args:
        output: Its name.
        expected, found: The desktop runtime's and TFLM's, [N, ...], as the tensor holds them.
        scale: Real value of one step of a quantized output; None if it is not quantized.
    """
    is_float = expected.dtype.kind == "f"
    apart = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    lsb = 1.0 if scale is None else scale
    if is_float:
        span = float(expected.max() - expected.min()) or float(np.abs(expected).max()) or 1.0
        lsb = span / 255
        apart = apart / lsb
    return OutputDifference(
        output=output,
        lsb=lsb,
        max_lsb=float(apart.max()),
        differing=float(np.mean(found != expected)),
        mean_lsb=float(apart.mean()),
        gross_lsb=_gross(expected, lsb if is_float else 1.0, quantized=scale is not None),
    )


def _gross(expected: Array, unit: float, quantized: bool) -> float:
    """The mean difference above which found values are no rounding of the expected ones.

    Values that are independent of the expected ones differ from them in the mean by at least as much as the best
    constant does, the median. Half of that is gross. Rounding in another order also adds up where the expected values
    hardly vary, so 1/16 of the range is allowed in any case: recurrent models differ by up to 50 steps of 256 in single
    values, and by far less in the mean.
    """
    values = expected.astype(np.float64)
    spread = float(np.mean(np.abs(values - np.median(values)))) / unit
    span = 256.0
    if expected.dtype.kind != "f":
        # Integers without a scale are counts or places: they have no range, and rounding moves some by one.
        span = 2.0 ** (8 * expected.dtype.itemsize) if quantized else 8.0
    return max(spread / 2, span / 16)

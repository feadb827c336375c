"""Runs one candidate under several runtimes, and compares each with the desktop runtime that the evaluation uses."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from components.device_check.run import run_on_inputs
from components.facts.device import RuntimeFacts, RuntimeResult, ToolFailure
from components.model.differences import difference
from components.model.tflite_runtime import TFLiteModel
from components.spec.devices.device_tools import RuntimesEvaluator

Array = npt.NDArray[Any]
# The runtime that the others are compared with.
DESKTOP = "desktop"


def run_with_runtimes(
    content: bytes, inputs: Mapping[str, Array], evaluator: RuntimesEvaluator
) -> tuple[tuple[RuntimeResult, ...], dict[str, dict[str, Array]]]:
    """Run a file under every runtime of an evaluator.

    Args:
        content: The TFLite file, which the desktop runtime must accept.
        inputs: Input name -> array [N, ...] in real values, as for `TFLiteModel.predict`.
        evaluator: The runtimes, with their limits.

    Returns:
        The result of each runtime, the desktop's first, and the outputs of the runtimes that worked, in real values:
        runtime -> output -> array [n, ...] for the first n examples that every runtime completed.

    Raises:
        ModelError, DataError: From the desktop runtime.
    """
    desktop = TFLiteModel(content)
    given = desktop.to_tensors(inputs)
    results: dict[str, dict[str, Array] | ToolFailure] = {}
    for name, (python, kernels) in _runtimes(evaluator).items():
        with tempfile.TemporaryDirectory(prefix="edgemill-litert-") as folder:
            options = (kernels, repr(evaluator.seconds))
            ran_tool = run_on_inputs(
                name, "litert", Path(folder), desktop, content, given, evaluator.timeout_s, options, python
            )
            results[name] = ran_tool if isinstance(ran_tool, ToolFailure) else ran_tool[0]
    ran = {name: found for name, found in results.items() if not isinstance(found, ToolFailure)}
    examples = min([len(values) for found in ran.values() for values in found.values()], default=0)
    if not examples:
        failed = [(name, found) for name, found in results.items() if isinstance(found, ToolFailure)]
        return tuple(RuntimeResult(name=name, outcome=found) for name, found in failed), {}
    expected = desktop.predict_tensors({name: values[:examples] for name, values in given.items()})
    raw = {DESKTOP: expected} | {
        name: {output: values[:examples] for output, values in found.items()} for name, found in ran.items()
    }
    outcomes: dict[str, RuntimeFacts | ToolFailure] = {DESKTOP: _facts(expected, expected, desktop)}
    for name, found in results.items():
        outcomes[name] = found if isinstance(found, ToolFailure) else _facts(expected, raw[name], desktop)
    rows = tuple(RuntimeResult(name=name, outcome=outcome) for name, outcome in outcomes.items())
    return rows, {name: desktop.to_real(values) for name, values in raw.items()}


def _runtimes(evaluator: RuntimesEvaluator) -> dict[str, tuple[str, str]]:
    """Name -> the Python that runs it, and its kernels."""
    own: dict[str, tuple[str, str]] = {f"litert_{kernels}": (sys.executable, kernels) for kernels in evaluator.kernels}
    return own | {name: (python, "xnnpack") for name, python in evaluator.others.items()}


def _facts(expected: Mapping[str, Array], found: Mapping[str, Array], desktop: TFLiteModel) -> RuntimeFacts:
    return RuntimeFacts(
        examples=len(next(iter(found.values()))),
        outputs=tuple(
            difference(output, values, found[output], desktop.output_scale(output))
            for output, values in expected.items()
        ),
    )

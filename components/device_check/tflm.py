"""Runs TensorFlow Lite for Microcontrollers (TFLM) on one candidate, and compares it with the desktop runtime.

The interpreter in the package `tflite-micro` uses TFLM's reference kernels (David et al. 2021, arXiv:2010.08678), so
its outputs equal those of a device without optimized kernels.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from components.device_check.run import run_on_inputs
from components.device_check.tflm_child import ARENA_FILE, allocations
from components.facts.device import GoldenTensor, TflmFacts, TflmOutcome, ToolFailure
from components.model.differences import difference
from components.model.tflite_runtime import TFLiteModel
from components.spec.devices.device_tools import TflmEvaluator

Array = npt.NDArray[Any]
# No recipe can have such a name, because recipe names have no hyphens.
DESKTOP_SUFFIX = "-desktop"


@dataclass(frozen=True)
class RunOutputs:
    """Outputs of one file on the first examples, in real values: output name -> array [N, ...].

    Attributes:
        device, desktop: Under TensorFlow Lite Micro and under the desktop runtime; empty if it didn't run.
        runtimes: Runtime -> outputs under it.
    """

    device: dict[str, Array] = field(default_factory=dict)
    desktop: dict[str, Array] = field(default_factory=dict)
    runtimes: dict[str, dict[str, Array]] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, dict[str, Array]]:
        """Suffix of a model's name -> its outputs. The suffix is empty for TensorFlow Lite Micro."""
        found = {"": self.device, DESKTOP_SUFFIX: self.desktop}
        found |= {f"-on-{runtime}": outputs for runtime, outputs in self.runtimes.items()}
        return {suffix: outputs for suffix, outputs in found.items() if outputs}


def measure_with_tflm(content: bytes, inputs: Mapping[str, Array], evaluator: TflmEvaluator) -> TflmOutcome:
    """The facts of `run_with_tflm`, or the reason why there are none."""
    found = run_with_tflm(content, inputs, evaluator)
    return found if isinstance(found, ToolFailure) else found[0]


def run_with_tflm(
    content: bytes, inputs: Mapping[str, Array], evaluator: TflmEvaluator
) -> tuple[TflmFacts, RunOutputs] | ToolFailure:
    """Run a file. A file of a single time step runs through complete sequences, with states from TFLM itself.

    Args:
        content: The TFLite file, which the desktop runtime must accept.
        inputs: Input name -> array [N, ...] in real values, as for `TFLiteModel.predict`.
        evaluator: The evaluator, with its timeout.

    Returns:
        Facts about the first examples that run within `evaluator.seconds`, and their outputs; or the reason why there
        are none.

    Raises:
        ModelError, DataError: From the desktop runtime.
    """
    desktop = TFLiteModel(content)
    given = desktop.to_tensors(inputs)
    with tempfile.TemporaryDirectory(prefix="edgemill-tflm-") as name:
        folder = Path(name)
        workers = len(os.sched_getaffinity(0))
        options = (repr(evaluator.seconds), str(workers))
        ran = run_on_inputs(
            "TensorFlow Lite Micro", "tflm", folder, desktop, content, given, evaluator.timeout_s, options
        )
        if isinstance(ran, ToolFailure):
            return ran
        found, log = ran
        examples = len(next(iter(found.values())))
        expected = desktop.predict_tensors({name: values[:examples] for name, values in given.items()})
        persistent, non_persistent = allocations(log)
        golden_inputs: tuple[GoldenTensor, ...] = ()
        golden_outputs: tuple[GoldenTensor, ...] = ()
        if not desktop.streaming:
            taken, returned = desktop.tensor_names
            golden_inputs = tuple(GoldenTensor.of(name, given[name][:1]) for name in taken)
            golden_outputs = tuple(GoldenTensor.of(name, found[name][:1]) for name in returned)
        facts = TflmFacts(
            arena_bytes=int((folder / ARENA_FILE).read_text()),
            persistent_bytes=persistent,
            non_persistent_bytes=non_persistent,
            examples=examples,
            outputs=tuple(
                difference(output, values, found[output], desktop.output_scale(output))
                for output, values in expected.items()
            ),
            golden_inputs=golden_inputs,
            golden_outputs=golden_outputs,
        )
        return facts, RunOutputs(device=desktop.to_real(found), desktop=desktop.to_real(expected))

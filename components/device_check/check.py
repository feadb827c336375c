"""Runs one device's tools on all candidates and combines the results into one report."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from components.core.errors import DataError, EdgemillError
from components.core.files import sha256_of_bytes
from components.data.examples import Inputs
from components.device_check.adb.benchmark import measure_with_adb
from components.device_check.installed import tool_errors
from components.device_check.runtimes.measure import DESKTOP, run_with_runtimes
from components.device_check.tflm import Array, RunOutputs, run_with_tflm
from components.device_check.vela import measure_with_vela
from components.facts.artifact_paths import OUTCOME_FILE, TFLITE_FILE
from components.facts.conversion import Converted, outcome_of
from components.facts.device import (
    AdbOutcome,
    CandidateOnDevice,
    DeviceReport,
    RuntimeResult,
    TflmFacts,
    TflmOutcome,
    ToolFailure,
    VelaOutcome,
)
from components.facts.verified import Verified
from components.model.tflite_file import inspect_model
from components.spec.devices.device_tools import (
    AdbEvaluator,
    DeviceEvaluator,
    RuntimesEvaluator,
    TflmEvaluator,
    VelaEvaluator,
)

logger = logging.getLogger(__name__)

# Role of its artifact.
CHAMPION = "champion"


def check_candidates(
    device: str, evaluators: Sequence[DeviceEvaluator], candidates: Mapping[str, Verified], inputs: Inputs | None
) -> tuple[DeviceReport, dict[str, RunOutputs]]:
    """Run every tool on every converted candidate. If a tool rejects a file, that is a result, not an error.

    Args:
        device: Name of the device profile.
        evaluators: The device's tools.
        candidates: Recipe name -> Model artifact, in the order of the report.
        inputs: Decoded model inputs; None if no tool runs the files.

    Returns:
        The report without metrics, and the outputs of each candidate that a tool ran.

    Raises:
        DataError: A tool runs files, but there are no inputs.
        SpecError: A tool is missing, or has a different version than the profile requires.
        TamperedError: A candidate has changed since it was written.
    """
    check_tools(device, evaluators)
    found = {name: check_candidate(device, evaluators, name, each, inputs) for name, each in candidates.items()}
    checked = {name: each for name, each in found.items() if each is not None}
    outputs = {name: ran for name, (_, ran) in checked.items() if ran.all}
    return DeviceReport(device=device, candidates=tuple(one for one, _ in checked.values())), outputs


def check_tools(device: str, evaluators: Sequence[DeviceEvaluator]) -> None:
    """Check that a device's tools are installed.

    Raises:
        SpecError: A tool is missing, or has a different version than the profile requires.
    """
    for error in tool_errors(device, evaluators):
        raise error


def check_candidate(
    device: str, evaluators: Sequence[DeviceEvaluator], name: str, candidate: Verified, inputs: Inputs | None
) -> tuple[CandidateOnDevice, RunOutputs] | None:
    """Run every tool on one candidate, without checking that the tools are installed.

    Returns:
        The findings without metrics, and the outputs under the tools that ran it. None if the conversion failed, or for
        a champion that does not exist.

    Raises:
        DataError, TamperedError: As for `check_candidates`.
    """
    if candidate.manifest.role == CHAMPION:
        # A champion was made by another run, and there may be none.
        if TFLITE_FILE not in candidate.manifest.files:
            return None
        inspection = inspect_model(candidate.read(TFLITE_FILE))
    else:
        outcome = outcome_of(candidate.read(OUTCOME_FILE))
        if not isinstance(outcome, Converted):
            return None
        inspection = outcome.inspection
    operators = sum(use.count for use in inspection.operators)
    content, outputs = candidate.read(TFLITE_FILE), RunOutputs()
    vela: VelaOutcome | None = None
    tflm: TflmOutcome | None = None
    adb: AdbOutcome | None = None
    runtimes: tuple[RuntimeResult, ...] = ()
    for evaluator in evaluators:
        logger.info("%s: %s: running %s", device, name, evaluator.kind)
        if isinstance(evaluator, VelaEvaluator):
            vela = measure_with_vela(content, operators, evaluator)
        elif isinstance(evaluator, AdbEvaluator):
            adb = measure_with_adb(content, evaluator)
        elif isinstance(evaluator, RuntimesEvaluator):
            runtimes, ran = _run_runtimes(content, inputs, evaluator)
            outputs = dataclasses.replace(outputs, runtimes=ran)
        else:
            found = _run(content, inputs, evaluator)
            if isinstance(found, ToolFailure):
                tflm = found
            else:
                tflm, on_tflm = found
                outputs = dataclasses.replace(outputs, device=on_tflm.device, desktop=on_tflm.desktop)
    one = CandidateOnDevice(
        name=name, sha256=sha256_of_bytes(content), vela=vela, tflm=tflm, adb=adb, runtimes=runtimes
    )
    for failure in one.failures:
        logger.warning("%s: %s: %s", device, name, failure.message)
    return one, outputs


def _run(content: bytes, inputs: Inputs | None, evaluator: TflmEvaluator) -> tuple[TflmFacts, RunOutputs] | ToolFailure:
    first = _first(inputs, evaluator.examples)
    try:
        return run_with_tflm(content, first, evaluator)
    except EdgemillError as error:
        return _refused(error)


def _run_runtimes(
    content: bytes, inputs: Inputs | None, evaluator: RuntimesEvaluator
) -> tuple[tuple[RuntimeResult, ...], dict[str, dict[str, Array]]]:
    first = _first(inputs, evaluator.examples)
    try:
        return run_with_runtimes(content, first, evaluator)
    except EdgemillError as error:
        return (RuntimeResult(name=DESKTOP, outcome=_refused(error)),), {}


def _first(inputs: Inputs | None, examples: int | Literal["all"]) -> Inputs:
    if inputs is None:
        raise DataError("the runtime has no examples to run", where="inputs", remedy="pass decoded examples")
    return inputs if examples == "all" else {name: values[:examples] for name, values in inputs.items()}


def _refused(error: EdgemillError) -> ToolFailure:
    return ToolFailure(cause="refused", message=f"the desktop runtime: {error.what}", remedy=error.remedy)

"""Checks of a device profile's bounds against the findings of the device's tools."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.errors import some_of
from components.facts.decision import Check, Requirement, Unit, Verdict
from components.facts.device import CandidateOnDevice, TflmFacts, ToolFailure, VelaFacts
from components.facts.evaluation import CandidateReport
from components.facts.tools.phone import AdbFacts
from components.gate.checks import at_most
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec

VELA, TFLM, ADB = (
    "Vela",
    "TensorFlow Lite Micro",
    "benchmark on the phone",
)  # Quantities of checks of the tools themselves.
NPU_CYCLES, CPU_OPERATORS = "NPU cycles", "operators on the CPU"


def tool_checks(
    candidate: CandidateReport, device: DeviceProfile, policy: GateSpec, facts: CandidateOnDevice | None
) -> Iterator[Check | Requirement]:
    """Check a converted candidate against the findings of the device's tools. Figures without bounds aren't checked.

    If a tool rejects the file, the candidate fails, because the device would reject it too. If a tool times out, there
    is no verdict.
    """
    if not device.evaluators:
        return
    if facts is None:
        yield _required("device check", device, "results of its tools", "none for this candidate", "not_enough_data")
        return
    if facts.sha256 != candidate.sha256:
        yield _required(
            "sha256", device, f"the evaluated file, {candidate.sha256}", f"its tools ran on {facts.sha256}", "fail"
        )
        return
    if device.vela is not None:
        yield from _vela(facts, device)
    if device.tflm is not None:
        yield from _tflm(facts, device)
    if device.runtimes is not None:
        yield from _runtimes(facts, device)
    if device.adb is not None:
        yield from _adb(facts, device, policy)


def _vela(facts: CandidateOnDevice, device: DeviceProfile) -> Iterator[Check | Requirement]:
    if not isinstance(facts.vela, VelaFacts):
        yield _not_taken(VELA, facts.vela, device)
        return
    found = facts.vela
    fallen = len(found.cpu_operators)
    if device.max_cpu_operators is not None:
        reasons = dict.fromkeys(f"{one.name}: {one.reason or 'no reason given'}" for one in found.cpu_operators)
        note = f" of {found.operators}" + (f" ({some_of(reasons, 3)})" if fallen else "")
        yield at_most(CPU_OPERATORS, device.name, device.max_cpu_operators, fallen, "operators", note)
    # Vela's estimates exclude operators on the CPU.
    partly = f" (without {fallen} operators on the CPU)" if fallen else ""
    unit: Unit
    for what, unit, limit, value in (
        (NPU_CYCLES, "cycles", device.max_npu_cycles, found.cycles),
        ("SRAM bytes", "bytes", device.max_sram_bytes, found.sram_bytes),
        ("flash bytes", "bytes", device.max_flash_bytes, found.flash_bytes),
    ):
        if limit is not None:
            # A missing figure must not pass as the best possible one.
            note = "no operator runs on the NPU" if value is None else partly
            yield at_most(what, device.name, limit, value, unit, note)


def _tflm(facts: CandidateOnDevice, device: DeviceProfile) -> Iterator[Check | Requirement]:
    if not isinstance(facts.tflm, TflmFacts):
        yield _not_taken(TFLM, facts.tflm, device)
        return
    found = facts.tflm
    note = f" over {found.examples} examples"
    for output in found.outputs:
        # Fails even without `max_tflm_lsb`, because on TFLM, the file doesn't compute the evaluated values.
        if output.gross:
            what = f"output {output.output} on {TFLM}"
            yield at_most(what, device.name, output.gross_lsb, output.mean_lsb, "mean_LSB_from_desktop", note)
    if device.max_arena_bytes is not None:
        yield at_most("arena bytes", device.name, device.max_arena_bytes, found.arena_bytes, "bytes")
    if device.max_tflm_lsb is not None:
        yield at_most("difference in LSB", device.name, device.max_tflm_lsb, found.max_lsb, "LSB", note)


def _runtimes(facts: CandidateOnDevice, device: DeviceProfile) -> Iterator[Requirement]:
    """A file that a declared runtime doesn't run fails. Differences are reported, but don't affect the verdict."""
    if not facts.runtimes:
        yield _not_taken("runtimes", None, device)
    for each in facts.runtimes:
        if isinstance(each.outcome, ToolFailure):
            yield _not_taken(f"runtime {each.name}", each.outcome, device)


def _adb(facts: CandidateOnDevice, device: DeviceProfile, policy: GateSpec) -> Iterator[Check | Requirement]:
    if not isinstance(facts.adb, AdbFacts):
        yield _not_taken(ADB, facts.adb, device)
        return
    found = facts.adb
    if device.max_latency_us is not None:
        yield _phone_time(found, device.name, device.max_latency_us, policy)
    if (limit_bytes := device.max_memory_bytes) is not None:
        note = "" if found.memory_bytes is not None else "the phone does not report it"
        yield at_most("memory on the phone", device.name, limit_bytes, found.memory_bytes, "bytes", note)


def _phone_time(found: AdbFacts, name: str, limit: float, policy: GateSpec) -> Check:
    what = "time on the phone"
    if found.disagreement:
        return at_most(what, name, limit, None, "microseconds", found.disagreement, missing="not_enough_data")
    low, high = found.latency_interval_us
    note = f" over {found.runs} inferences on {found.model}"
    check = at_most(what, name, limit, found.latency_us, "microseconds", note)
    check = check.model_copy(update={"lower": low, "upper": high})
    if policy.decide_on != "estimate" and low <= limit < high:
        note += ": the bound is within the interval"
        check = check.model_copy(update={"verdict": "not_enough_data", "note": note})
    return check


def _not_taken(tool: str, failure: ToolFailure | None, device: DeviceProfile) -> Requirement:
    if failure is None:
        return _required(tool, device, "a file that it accepts", "it was not run", "not_enough_data")
    verdict: Verdict = "not_enough_data" if failure.transient else "fail"
    measured = f"{failure.cause}: {failure.message} Remedy: {failure.remedy}"
    return _required(tool, device, "a file that it accepts", measured, verdict)


def _required(what: str, device: DeviceProfile, bound: str, measured: str, verdict: Verdict) -> Requirement:
    return Requirement(quantity=what, scope=device.name, bound=bound, measured=measured, verdict=verdict)

"""Checks of a device profile's bounds against the findings of the device's tools."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.wording import some_of
from components.facts.decision import Check, Requirement, Unit, Verdict
from components.facts.device import CandidateOnDevice, TflmFacts, ToolFailure, VelaFacts
from components.facts.evaluation import CandidateReport
from components.spec.devices.device import DeviceProfile

VELA, TFLM = "Vela", "TensorFlow Lite Micro"  # Quantities of checks of the tools themselves.
NPU_CYCLES, CPU_OPERATORS = "NPU cycles", "operators on the CPU"


def tool_checks(
    candidate: CandidateReport, device: DeviceProfile, facts: CandidateOnDevice | None
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


def _vela(facts: CandidateOnDevice, device: DeviceProfile) -> Iterator[Check | Requirement]:
    if not isinstance(facts.vela, VelaFacts):
        yield _not_taken(VELA, facts.vela, device)
        return
    found = facts.vela
    fallen = len(found.cpu_operators)
    if device.max_cpu_operators is not None:
        which = some_of(
            dict.fromkeys(f"{one.name}: {one.reason or 'no reason given'}" for one in found.cpu_operators), 3
        )
        note = f" of {found.operators}" + (f" ({which})" if fallen else "")
        yield _at_most(CPU_OPERATORS, device, device.max_cpu_operators, fallen, "operators", note)
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
            yield _at_most(what, device, limit, value, unit, "no operator runs on the NPU" if value is None else partly)


def _tflm(facts: CandidateOnDevice, device: DeviceProfile) -> Iterator[Check | Requirement]:
    if not isinstance(facts.tflm, TflmFacts):
        yield _not_taken(TFLM, facts.tflm, device)
        return
    found = facts.tflm
    for output in found.outputs:
        # Fails even without `max_tflm_lsb`, because on TFLM the file doesn't compute what was evaluated.
        if output.gross:
            yield Check(
                quantity=f"output {output.output} on {TFLM}",
                scope=device.name,
                op="at_most",
                bound=output.gross_lsb,
                measured=output.mean_lsb,
                unit="mean_LSB_from_desktop",
                verdict="fail",
                note=f" over {found.examples} examples",
            )
    if device.max_arena_bytes is not None:
        yield _at_most("arena bytes", device, device.max_arena_bytes, found.arena_bytes, "bytes")
    if device.max_tflm_lsb is not None:
        note = f" over {found.examples} examples"
        yield _at_most("difference in LSB", device, device.max_tflm_lsb, found.max_lsb, "LSB", note)


def _not_taken(tool: str, failure: ToolFailure | None, device: DeviceProfile) -> Requirement:
    if failure is None:
        return _required(tool, device, "a file that it accepts", "it was not run", "not_enough_data")
    verdict: Verdict = "not_enough_data" if failure.transient else "fail"
    measured = f"{failure.cause}: {failure.message} Remedy: {failure.remedy}"
    return _required(tool, device, "a file that it accepts", measured, verdict)


def _at_most(what: str, device: DeviceProfile, limit: float, value: float | None, unit: Unit, note: str = "") -> Check:
    # NaN fails the comparison.
    return Check(
        quantity=what,
        scope=device.name,
        op="at_most",
        bound=limit,
        measured=value,
        unit=unit,
        verdict="pass" if value is not None and value <= limit else "fail",
        note=note,
    )


def _required(what: str, device: DeviceProfile, bound: str, measured: str, verdict: Verdict) -> Requirement:
    return Requirement(quantity=what, scope=device.name, bound=bound, measured=measured, verdict=verdict)

"""The gate's policy, independent of TFX: turns measured facts and bounds into a decision with reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from components.facts.champion import Challenge, Champion
from components.facts.conversion import Converted
from components.facts.decision import CandidateDecision, Check, Decision, Requirement, Verdict
from components.facts.device import DeviceReport
from components.facts.evaluation import CandidateReport, EvaluationReport
from components.gate.champion import champion_checks, champion_verdict, requirement
from components.gate.checks import (
    LATENCY_RATIO,
    OPERATORS,
    bound_checks,
    contradictions,
    device_checks,
    saturation_checks,
    step_checks,
)
from components.gate.evidence import Evidence
from components.gate.holm import judged
from components.gate.on_device import OnDevice
from components.gate.preference import choose, fronts
from components.gate.tools import tool_checks
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec

UNJUDGED_LATENCY_REMEDY = "remove max_latency_ratio from the device profile, or increase the work per call"


def decide(
    report: EvaluationReport,
    device: DeviceProfile,
    policy: GateSpec,
    less_is_better: bool | None = None,
    on_device: DeviceReport | None = None,
    challenge: Challenge | None = None,
    directions: Mapping[str, bool] = MappingProxyType({}),
) -> Decision:
    """Check every candidate against the policy and the device's budgets, and choose the best that passes.

    Args:
        report: The measurements. Changes are candidate minus baseline.
        device: The device to decide for.
        policy: The bounds and the preference. The first metric ranks accuracy.
        less_is_better: Whether smaller values of the first metric are better. If None, it is inferred from the metric's
            bounds: less is better only if it has neither `at_least` nor `max_drop_from_baseline`.
        on_device: Facts from the device's own tools; None for a profile without evaluators. If TensorFlow Lite Micro
            ran a candidate, the bounds on metrics also apply there. If it ran all examples, they apply only there.
        challenge: How the candidates compare with the champion; None if the policy doesn't compare.
        directions: Metric -> whether smaller values are better, for the comparison with the champion.

    Returns:
        A decision with the candidates in the order of the report. A bound that is met exactly passes, and a difference
        within float32 rounding counts as exact (`components.gate.checks`).
    """
    if challenge is None and policy.champion != "none":
        challenge = Challenge(champion=Champion(device=device.name, state="unknown"))
    if less_is_better is None:
        first = policy.metrics[0]
        drops = (first.at_least, first.max_drop_from_baseline, first.max_drop_from_champion)
        less_is_better = all(bound is None for bound in drops)
    there = OnDevice(report, on_device)
    # The preference compares the accuracy on all examples.
    seen = there.report if there.complete else report
    against = _against(report, challenge, policy, directions)
    judged_all, on_champion = _judged(report, device, policy, on_device, there, challenge, against)
    decided = list(zip(seen.candidates, judged_all, strict=True))
    passing = [candidate for candidate, decision in decided if decision.verdict == "pass"]
    decisions = tuple(decision for _, decision in decided)
    verdict: Verdict = "pass"
    best = None
    if passing:
        best, why = choose(passing, report.spans, policy, less_is_better, on_device)
    else:
        verdict = "not_enough_data" if any(one.verdict == "not_enough_data" for one in decisions) else "fail"
        why = "; ".join([_why_none(decided, device), *contradictions(seen.baseline_slices, policy)])
    return Decision(
        device=device.name,
        verdict=verdict,
        chosen=best.name if best else None,
        chosen_sha256=best.sha256 if best else None,
        why=why,
        metric=policy.metrics[0].name,
        fronts=fronts(passing, policy.metrics[0].name, less_is_better, on_device),
        decide_on=policy.decide_on,
        alpha=policy.error_rate if policy.decide_on == "test" else None,
        champion=None if challenge is None else champion_verdict(report.candidates, on_champion, challenge, policy),
        candidates=decisions,
    )


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst verdict: `fail` before `not_enough_data` before `pass`."""
    found = set(verdicts)
    return "fail" if "fail" in found else "not_enough_data" if "not_enough_data" in found else "pass"


# Checks in their order, each with its evidence, as in `components.gate.holm`.
_Rows = list[tuple[Check, Evidence | None]]


def _against(
    report: EvaluationReport, challenge: Challenge | None, policy: GateSpec, directions: Mapping[str, bool]
) -> list[_Rows]:
    if challenge is None:
        return [[] for _ in report.candidates]
    return [
        champion_checks(candidate, challenge, policy, directions) if isinstance(candidate.outcome, Converted) else []
        for candidate in report.candidates
    ]


def _judged(
    report: EvaluationReport,
    device: DeviceProfile,
    policy: GateSpec,
    on_device: DeviceReport | None,
    there: OnDevice,
    challenge: Challenge | None,
    against: Sequence[_Rows],
) -> tuple[list[CandidateDecision], list[list[Check]]]:
    """The decisions on all candidates, and their judged checks against the champion."""
    required = challenge if policy.champion == "require" else None
    fixed = [
        [*_of_the_file(candidate, device, policy, on_device), *_of_the_champion(candidate, required)]
        for candidate in report.candidates
    ]
    bounds = [
        _of_the_metrics(candidate, measured, report, policy, there) if isinstance(candidate.outcome, Converted) else []
        for candidate, measured in zip(report.candidates, there.report.candidates, strict=True)
    ]
    # None of the other checks uses evaluation examples, so the choice among the remaining candidates is fair.
    eligible = [worst(check.verdict for check in checks) == "pass" for checks in fixed]
    deciding = [[*own, *(rows if required else ())] for own, rows in zip(bounds, against, strict=True)]
    of_all = judged(deciding, eligible, policy.error_rate)
    # A check that is only reported must not make it harder to pass.
    on_champion = (
        [checks[len(own) :] for checks, own in zip(of_all, bounds, strict=True)]
        if required
        else judged(against, eligible, policy.error_rate)
    )
    decisions = []
    for candidate, of_file, of_metrics in zip(report.candidates, fixed, of_all, strict=True):
        checks = (*of_file, *of_metrics, *_of_the_states(candidate, policy))
        verdict = worst(check.verdict for check in checks)
        decisions.append(CandidateDecision(candidate=candidate.name, verdict=verdict, checks=checks))
    return decisions, on_champion


def _of_the_champion(candidate: CandidateReport, required: Challenge | None) -> list[Requirement]:
    found = None if required is None else requirement(candidate, required)
    return [found] if found is not None and isinstance(candidate.outcome, Converted) else []


def _of_the_metrics(
    candidate: CandidateReport, measured: CandidateReport, report: EvaluationReport, policy: GateSpec, there: OnDevice
) -> _Rows:
    runtime = there.runtime(candidate.name)
    checks: _Rows = []
    if runtime is None or not there.complete:
        checks += _bounded(candidate, report, policy)
    if runtime is not None:
        checks += [
            (check.model_copy(update={"quantity": f"{check.quantity} on {runtime}"}), evidence)
            for check, evidence in _bounded(measured, there.report, policy)
        ]
    return checks


def _bounded(candidate: CandidateReport, report: EvaluationReport, policy: GateSpec) -> _Rows:
    return [
        check
        for bound in policy.metrics
        for check in bound_checks(candidate.slices, report.baseline_slices, bound, policy, report.spans.get(bound.name))
    ]


def _of_the_file(
    candidate: CandidateReport, device: DeviceProfile, policy: GateSpec, on_device: DeviceReport | None
) -> list[Check | Requirement]:
    outcome = candidate.outcome
    if not isinstance(outcome, Converted):
        return [
            Requirement(
                quantity="conversion",
                scope=candidate.name,
                bound=f"a file that meets the guarantees of {outcome.scheme}",
                measured=f"{outcome.cause}: {outcome.message} Remedy: {outcome.remedy}",
                verdict="fail",
            ),
        ]
    return [
        *device_checks(candidate, outcome.inspection, device, policy),
        *tool_checks(candidate, device, policy, on_device.of(candidate.name) if on_device else None),
        *([] if candidate.sha256 else [_no_digest(candidate)]),
    ]


def _of_the_states(candidate: CandidateReport, policy: GateSpec) -> list[Check]:
    if not isinstance(candidate.outcome, Converted):
        return []
    return [*step_checks(candidate.name, candidate.outcome, policy), *saturation_checks(candidate, policy)]


def _no_digest(candidate: CandidateReport) -> Requirement:
    bound, measured = "the digest of the evaluated bytes", "none in the evaluation report"
    return Requirement(quantity="sha256", scope=candidate.name, bound=bound, measured=measured, verdict="fail")


def _why_none(judged: list[tuple[CandidateReport, CandidateDecision]], device: DeviceProfile) -> str:
    if not judged:
        return "there is no candidate"
    reasons, fixes = [], list[str]()
    for candidate, decision in judged:
        # Name a failed check first. Missing data matters only if no check failed.
        check = next(check for check in decision.checks if check.verdict == decision.verdict)
        unjudged = check.quantity == LATENCY_RATIO and check.verdict == "not_enough_data"
        if unjudged:
            latency = candidate.latency
            noisy = latency is not None and (latency.transient or latency.ratio is not None)
            fixes.append("run again on a quieter machine" if noisy else UNJUDGED_LATENCY_REMEDY)
        if isinstance(check, Check) and unjudged:
            what = f"{check.quantity} {check.note}"
        elif isinstance(check, Requirement) and check.quantity == OPERATORS:
            what = f"{check.quantity} {check.measured}"
        else:
            of_itself = check.scope in {device.name, decision.candidate}
            what = check.quantity if of_itself else f"{check.quantity} on {check.scope}"
            what = f"too little data for {what}" if check.verdict == "not_enough_data" else what
        reasons.append(f"{decision.candidate} ({what})")
    return "; ".join([f"no candidate passes: {', '.join(reasons)}", *dict.fromkeys(fixes)])

"""Checks of single measured values against single bounds.

A bound that is met exactly passes. Metrics are partly computed in float32, so two values that differ by at most one
float32 epsilon (2**-23, about 1.2e-7) of the largest magnitude involved count as equal. For example, 0.85 - 0.84 is
0.010000000000000009 in floating point, which a permitted drop of 0.01 allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from components.facts.conversion import ConversionOutcome, Converted, Inspection
from components.facts.decision import Check, Operation, Requirement, Unit, Verdict
from components.facts.evaluation import CandidateReport, MetricValue, SliceResult
from components.facts.slices import OVERALL, matches
from components.gate.evidence import Evidence, evidence_on
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec, MetricBound

FLOAT32_EPSILON = 2.0**-23
OPERATORS, LATENCY_RATIO = "operators", "latency ratio"  # Quantities of checks.
STEP_ERROR = "error of the state"
SATURATED = "saturated outputs"


def device_checks(
    candidate: CandidateReport, inspection: Inspection, device: DeviceProfile, policy: GateSpec
) -> Iterator[Check | Requirement]:
    """Check a converted candidate against a device's capabilities and budgets. Unset budgets aren't checked."""
    scheme = candidate.recipe.scheme.kind
    yield _required("scheme", device, f"one of {', '.join(device.schemes)}", scheme, scheme in device.schemes)
    if device.operators is not None:
        lacking = sorted({use.name for use in inspection.operators} - set(device.operators))
        measured = f"not available: {', '.join(lacking)}" if lacking else f"all {len(inspection.operators)} available"
        yield _required(OPERATORS, device, f"among the device's {len(device.operators)}", measured, not lacking)
    if device.operator_versions:
        newer = [
            f"{use.name} version {use.version} (at most {limit})"
            for use in inspection.operators
            if (limit := device.operator_versions.get(use.name)) is not None and use.version > limit
        ]
        measured = f"newer: {', '.join(newer)}" if newer else "none is newer"
        yield _required("operator versions", device, "versions that the device's runtime has", measured, not newer)
    yield from _pinned(device, candidate.outcome, inspection)
    if device.integer_only:
        yield _required("float tensors", device, "none", _count(inspection.float_tensors), inspection.integer_only)
    if not device.sparse_weights:
        encoded = [weight.name for weight in inspection.weights if weight.sparse_encoded]
        yield _required("sparse-encoded weights", device, "none", _count(encoded), not encoded)
    compressed = candidate.compressed
    for what, limit, size in (
        ("file bytes", device.max_file_bytes, inspection.file_bytes),
        ("gzip bytes", device.max_gzip_bytes, compressed.gzip if compressed else None),
        ("zstd bytes", device.max_zstd_bytes, compressed.zstd if compressed else None),
    ):
        if limit is not None:
            note = "missing in the evaluation" if size is None else ""
            yield at_most(what, device.name, limit, size, "bytes", note, missing="not_enough_data")
    if device.max_latency_ratio is not None:
        yield _latency(candidate, device, device.max_latency_ratio, policy)


def _pinned(device: DeviceProfile, outcome: ConversionOutcome, inspection: Inspection) -> Iterator[Requirement]:
    contract = outcome.streaming if isinstance(outcome, Converted) else None
    # States can't be pinned, so a pin without a name refers to the only other tensor.
    states = {name for state in contract.states for name in (state.input, state.output)} if contract else set()
    for kind, pinned, tensors in (
        ("input", device.pinned_inputs, [one for one in inspection.inputs if one.signature not in states]),
        ("output", device.pinned_outputs, [one for one in inspection.outputs if one.signature not in states]),
    ):
        for one in pinned:
            named = [tensor for tensor in tensors if one.name in (None, tensor.signature, tensor.name)]
            found = named[0] if len(named) == 1 else None
            holds = (
                found is not None
                and found.dtype.lower() == one.dtype
                and found.zero_point == one.zero_point
                and found.scale is not None
                and math.isclose(found.scale, one.scale, rel_tol=1e-4)
            )
            measured = (
                f"{len(named)} such {kind}s"
                if found is None
                else f"{found.dtype.lower()}, scale {found.scale}, zero point {found.zero_point}"
            )
            bound = f"{one.dtype}, scale {one.scale:g}, zero point {one.zero_point}"
            yield _required(f"quantization of {kind} {one.name or 0}", device, bound, measured, holds)


def step_checks(name: str, outcome: Converted, policy: GateSpec) -> Iterator[Check]:
    """Check the state error of a lowered recurrent model at each time step. Float models have none."""
    limit = policy.max_state_error
    if limit is None or outcome.state_errors is None:
        return
    greatest, rms = outcome.state_errors.greatest, outcome.state_errors.rms
    note = f" after step {rms.index(greatest) + 1} of {len(rms)}, {outcome.state_errors.examples} sequences"
    yield at_most(STEP_ERROR, name, limit, greatest, "state_error", note, slack=FLOAT32_EPSILON)


def saturation_checks(candidate: CandidateReport, policy: GateSpec) -> Iterator[Check]:
    """Check the share of output values at an end of the quantized range, if the output has a range that can clip."""
    limit, share = policy.max_saturated_outputs, candidate.saturated
    if limit is None or share is None:
        return
    yield at_most(SATURATED, candidate.name, limit, share, "fraction_of_values", slack=FLOAT32_EPSILON)


def bound_checks(
    slices: Sequence[SliceResult],
    reference: Sequence[SliceResult],
    bound: MetricBound,
    policy: GateSpec,
    span: float | None,
    changed_from: str = "the baseline",
) -> Iterator[tuple[Check, Evidence | None]]:
    """Check one metric's bounds on every slice that they name. Missing values give `not_enough_data`.

    With `decide_on: test`, a check that can be tested comes with its evidence, and `components.gate.holm` judges it.

    Args:
        slices: Results of a candidate, with changes from the reference.
        reference: Results of the model that the bounds on changes are relative to.
        bound: The bounds.
        policy: Whether estimates, intervals, or tests decide.
        span: The metric's span, as in `components.facts.evaluation.EvaluationReport`.
        changed_from: Name of the reference, for notes.
    """
    own, baseline = _named(slices), _named(reference)
    for wanted in bound.slices or (OVERALL,):
        # A slice that only the baseline has is requested but not measured on this candidate.
        names = [name for name in dict.fromkeys([*own, *baseline]) if matches(name, wanted)]
        for name in names or [wanted]:
            yield from _on_slice(own.get(name), name, baseline.get(name), bound, policy, span, changed_from)


def _on_slice(
    result: SliceResult | None,
    where: str,
    baseline: SliceResult | None,
    bound: MetricBound,
    policy: GateSpec,
    span: float | None,
    changed_from: str,
) -> Iterator[tuple[Check, Evidence | None]]:
    metric = result.metrics.get(bound.name) if result else None
    reference = baseline.metrics.get(bound.name) if baseline else None
    change = result.change.get(bound.name) if result else None
    # A difference is as precise as the values that were subtracted.
    scale = max((abs(m.value) for m in (metric, reference) if m and math.isfinite(m.value)), default=0.0)
    pair = f" ({metric.value:.6g} against {reference.value:.6g})" if metric and reference else ""
    op: Operation
    for op, limit, sign, value, is_change in (
        ("at_least", bound.at_least, 1, metric, False),
        ("at_most", bound.at_most, -1, metric, False),
        ("drop_at_most", bound.max_drop_from_baseline, 1, change, True),
        ("rise_at_most", bound.max_rise_from_baseline, -1, change, True),
    ):
        if limit is None:
            continue
        # A permitted drop of 0.01 is a change of at least -0.01, a permitted rise one of at most 0.01.
        edge = -limit if is_change and sign == 1 else limit
        verdict, note = _compare(result, value, edge, sign, scale if is_change else 0.0, policy)
        evidence = None
        few = result is not None and result.examples < policy.min_examples
        if policy.decide_on == "test" and result and metric and value and not math.isnan(value.value):
            found = evidence_on(result, baseline if is_change else None, bound.name, edge, sign, span)
            verdict = "not_enough_data"
            if is_change and (flips := result.flips.get(bound.name)):
                note += f", {flips.lost} lost and {flips.gained} gained"
            if few or isinstance(found, str):
                note += _needed(found, policy)
            else:
                evidence = found
        if value is None:
            note = _lacks(result, where, bound.name, f"change from {changed_from}" if is_change else "value")
        check = Check(
            quantity=f"change of {bound.name}" if is_change else bound.name,
            scope=where,
            op=op,
            bound=limit,
            measured=value.value if value else None,
            verdict=verdict,
            lower=value.lower if value and value.upper is not None else None,
            upper=value.upper if value and value.lower is not None else None,
            note=note + (pair if is_change and value is not None else ""),
        )
        yield check, evidence


def _needed(found: Evidence | str, policy: GateSpec) -> str:
    """What the test needs, for a slice with fewer than `min_examples` examples or without evidence."""
    if isinstance(found, str):
        return f": {found}"
    enough = found.enough(policy.error_rate)
    if enough is None:
        return "; no number of examples would be enough if the true value is the measured one"
    number = max(enough, policy.min_examples)
    return f"; by itself, the test needs about {number:,} in 80 % of evaluations if the true value is the measured one"


def contradictions(reference: Sequence[SliceResult], policy: GateSpec) -> Iterator[str]:
    """Yield the errors of bounds that no candidate can meet, given the baseline's values."""
    for result in reference:
        for name, metric in result.metrics.items():
            least, most = [-math.inf], [math.inf]
            for bound in policy.metrics:
                if bound.name == name and any(matches(result.slice, each) for each in bound.slices or (OVERALL,)):
                    least += [each for each in (bound.at_least,) if each is not None]
                    most += [each for each in (bound.at_most,) if each is not None]
                    if bound.max_drop_from_baseline is not None:
                        least.append(metric.value - bound.max_drop_from_baseline)
                    if bound.max_rise_from_baseline is not None:
                        most.append(metric.value + bound.max_rise_from_baseline)
            if max(least) > min(most):
                yield (
                    f"the bounds on {name} on {result.slice} contradict each other: the baseline has "
                    f"{metric.value:.6g}, so they require at least {max(least):.6g} and at most {min(most):.6g}"
                )


def _compare(
    result: SliceResult | None, value: MetricValue | None, edge: float, sign: int, scale: float, policy: GateSpec
) -> tuple[Verdict, str]:
    """Return the verdict on sign * value >= sign * edge, and a note about the data."""
    if result is None or value is None:
        return "not_enough_data", ""
    interval = None if value.lower is None or value.upper is None else (value.lower, value.upper)
    note = f", {result.examples:,} examples" + (f" in {result.groups:,} groups" if result.groups is not None else "")
    if result.examples < policy.min_examples:
        return "not_enough_data", f"{note}: fewer than {policy.min_examples}"
    if math.isnan(value.value):
        return "not_enough_data", f"{note}: could not be computed"
    if policy.decide_on == "test":
        return "pass", note  # If the evidence supports it.
    slack = FLOAT32_EPSILON * max(scale, abs(value.value) if math.isfinite(value.value) else 0.0, abs(edge))
    if policy.decide_on == "estimate":
        return ("pass" if sign * (value.value - edge) >= -slack else "fail"), note
    if interval is None or any(math.isnan(end) for end in interval):
        return "not_enough_data", f"{note}: no confidence interval"
    low, high = sorted(sign * (end - edge) for end in interval)
    if low >= -slack:
        return "pass", note
    return ("fail", note) if high < -slack else ("not_enough_data", f"{note}: the bound is within the interval")


def _lacks(result: SliceResult | None, where: str, metric: str, what: str) -> str:
    if result is None:
        return f"the evaluation has no slice {where!r}"
    known = ", ".join(sorted(result.metrics)) or "none"
    return f"the evaluation has no {what} of {metric!r} on this slice (metrics: {known}), {result.examples} examples"


def _latency(candidate: CandidateReport, device: DeviceProfile, limit: float, policy: GateSpec) -> Check:
    latency = candidate.latency
    if latency is None or latency.ratio is None or math.isnan(latency.ratio):
        why = latency.note if latency and latency.note else "no ratio was measured"
        note = f"not judged: {why}"
        return at_most(LATENCY_RATIO, device.name, limit, None, "ratio", note, missing="not_enough_data")
    note = f" ({latency.note})" if latency.note else ""
    check = at_most(LATENCY_RATIO, device.name, limit, latency.ratio, "ratio", note, slack=FLOAT32_EPSILON)
    if latency.lower is None or latency.upper is None:
        return check
    check = check.model_copy(update={"lower": latency.lower, "upper": latency.upper})
    if policy.decide_on != "estimate" and latency.lower <= limit < latency.upper:
        note += ": the bound is within the interval"
        return check.model_copy(update={"verdict": "not_enough_data", "note": note})
    return check


def _count(names: Sequence[str]) -> str:
    named = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)}{named}"


def _required(what: str, device: DeviceProfile, bound: str, measured: str, holds: bool) -> Requirement:
    verdict: Verdict = "pass" if holds else "fail"
    return Requirement(quantity=what, scope=device.name, bound=bound, measured=measured, verdict=verdict)


def at_most(
    what: str,
    where: str,
    limit: float,
    value: float | None,
    unit: Unit,
    note: str = "",
    missing: Verdict = "fail",
    slack: float = 0.0,
) -> Check:
    """A check of an upper limit, which a value may exceed by a relative slack. NaN fails; None gives `missing`."""
    verdict: Verdict = missing if value is None else "pass" if value <= limit * (1 + slack) else "fail"
    return Check(
        quantity=what, scope=where, op="at_most", bound=limit, measured=value, unit=unit, verdict=verdict, note=note
    )


def _named(slices: Sequence[SliceResult]) -> dict[str, SliceResult]:
    return {result.slice: result for result in slices}

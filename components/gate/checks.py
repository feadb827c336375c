"""Single bounds held against single measured values, in words and figures.

A bound that is met exactly passes. Metrics are computed in float32 somewhere on their way, so two values that differ by
no more than one float32 epsilon (2**-23, about 1.2e-7) of the largest magnitude involved count as equal:
0.85 - 0.84 is 0.010000000000000009 in floating point, and a permitted drop of 0.01 permits it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from components.facts.conversion import Converted, Inspection
from components.facts.decision import Check, Verdict
from components.facts.evaluation import CandidateReport, EvaluationReport, MetricValue, SliceResult
from components.facts.slices import OVERALL, matches
from components.spec.devices.device import DeviceProfile
from components.spec.gate import GateSpec, MetricBound

FLOAT32_EPSILON = 2.0**-23
OPERATORS, LATENCY_RATIO = "operators", "latency ratio"  # what a check is of
STEP_ERROR = "error of the state"
SATURATED = "saturated outputs"


def device_checks(candidate: CandidateReport, inspection: Inspection, device: DeviceProfile) -> Iterator[Check]:
    """A converted candidate against what the device can run and has room for; unbounded budgets give no check."""
    scheme = candidate.recipe.scheme.kind
    yield _budget("scheme", device, f"one of {', '.join(device.schemes)}", scheme, scheme in device.schemes)
    if device.operators is not None:
        lacking = sorted({use.name for use in inspection.operators} - set(device.operators))
        measured = f"not available: {', '.join(lacking)}" if lacking else f"all {len(inspection.operators)} available"
        yield _budget(OPERATORS, device, f"among the device's {len(device.operators)}", measured, not lacking)
    if device.integer_only:
        yield _budget("float tensors", device, "none", _count(inspection.float_tensors), inspection.integer_only)
    if not device.sparse_weights:
        encoded = [weight.name for weight in inspection.weights if weight.sparse_encoded]
        yield _budget("sparse-encoded weights", device, "none", _count(encoded), not encoded)
    compressed = candidate.compressed
    for what, limit, size in (
        ("file bytes", device.max_file_bytes, inspection.file_bytes),
        ("gzip bytes", device.max_gzip_bytes, compressed.gzip if compressed else None),
        ("zstd bytes", device.max_zstd_bytes, compressed.zstd if compressed else None),
    ):
        if limit is not None:
            yield _size(what, device, limit, size)
    if device.max_latency_ratio is not None:
        yield _latency(candidate, device, device.max_latency_ratio)


def step_checks(name: str, outcome: Converted, policy: GateSpec) -> Iterator[Check]:
    """The states of a lowered recurrent model at each time step; none for floats, which round nothing."""
    limit = policy.max_state_error
    if limit is None or outcome.steps is None:
        return
    greatest, rms = outcome.steps.greatest, outcome.steps.rms
    yield Check(
        what=STEP_ERROR,
        where=name,
        bound=f"at most {limit:.6g} at every time step",
        measured=f"{greatest:.6g} after step {rms.index(greatest) + 1} of {len(rms)}, "
        f"{outcome.steps.examples} sequences",
        verdict="pass" if greatest <= limit * (1 + FLOAT32_EPSILON) else "fail",
    )


def saturation_checks(candidate: CandidateReport, policy: GateSpec) -> Iterator[Check]:
    """The share of output values at an end of the quantized range; none where the output has no such end."""
    limit, share = policy.max_saturated_outputs, candidate.saturated
    if limit is None or share is None:
        return
    yield Check(
        what=SATURATED,
        where=candidate.name,
        bound=f"at most {limit:.6g} of all values",
        measured=f"{share:.6g}",
        verdict="pass" if share <= limit * (1 + FLOAT32_EPSILON) else "fail",
    )


def bound_checks(
    candidate: CandidateReport, report: EvaluationReport, bound: MetricBound, policy: GateSpec
) -> Iterator[Check]:
    """One metric's bounds on every slice that they name; what the evaluation lacks is not enough data."""
    own, baseline = _named(candidate.slices), _named(report.baseline_slices)
    for wanted in bound.slices or (OVERALL,):
        # A slice that only the baseline has was not measured on this candidate: asked for, and missing.
        names = [name for name in dict.fromkeys([*own, *baseline]) if matches(name, wanted)]
        for name in names or [wanted]:
            yield from _on_slice(own.get(name), name, baseline.get(name), bound, policy)


def _on_slice(
    result: SliceResult | None, where: str, baseline: SliceResult | None, bound: MetricBound, policy: GateSpec
) -> Iterator[Check]:
    metric = result.metrics.get(bound.name) if result else None
    reference = baseline.metrics.get(bound.name) if baseline else None
    change = result.change.get(bound.name) if result else None
    # A difference is as exact as the values it was made from.
    scale = max((abs(m.value) for m in (metric, reference) if m and math.isfinite(m.value)), default=0.0)
    pair = f" ({_figure(metric.value)} against {_figure(reference.value)})" if metric and reference else ""
    for words, limit, sign, value, is_change in (
        ("at least", bound.at_least, 1, metric, False),
        ("at most", bound.at_most, -1, metric, False),
        ("a drop of at most", bound.max_drop_from_baseline, 1, change, True),
        ("a rise of at most", bound.max_rise_from_baseline, -1, change, True),
    ):
        if limit is None:
            continue
        # A permitted drop of 0.01 is a change of at least -0.01, a permitted rise one of at most 0.01.
        edge = -limit if is_change and sign == 1 else limit
        verdict, measured = _compare(result, value, edge, sign, scale if is_change else 0.0, policy)
        if value is None:
            measured = _lacks(result, where, bound.name, "change from the baseline" if is_change else "value")
        yield Check(
            what=f"change of {bound.name}" if is_change else bound.name,
            where=where,
            bound=f"{words} {limit:.6g}",
            measured=measured + (pair if is_change and value is not None else ""),
            verdict=verdict,
        )


def _compare(
    result: SliceResult | None, value: MetricValue | None, edge: float, sign: int, scale: float, policy: GateSpec
) -> tuple[Verdict, str]:
    """Whether sign * value >= sign * edge, and the value in words."""
    if result is None or value is None:
        return "not_enough_data", ""
    interval = None if value.lower is None or value.upper is None else (value.lower, value.upper)
    words = _figure(value.value)
    if interval:
        words += f" [{_figure(interval[0])}, {_figure(interval[1])}]"
    words += f", {result.examples} examples"
    if result.examples < policy.min_examples:
        return "not_enough_data", f"{words}: fewer than {policy.min_examples}"
    if math.isnan(value.value):
        return "not_enough_data", f"{words}: could not be computed"
    slack = FLOAT32_EPSILON * max(scale, abs(value.value) if math.isfinite(value.value) else 0.0, abs(edge))
    if policy.decide_on == "estimate":
        return ("pass" if sign * (value.value - edge) >= -slack else "fail"), words
    if interval is None or any(math.isnan(end) for end in interval):
        return "not_enough_data", f"{words}: no confidence interval"
    low, high = sorted(sign * (end - edge) for end in interval)
    if low >= -slack:
        return "pass", words
    return ("fail", words) if high < -slack else ("not_enough_data", f"{words}: the bound lies in the interval")


def _lacks(result: SliceResult | None, where: str, metric: str, what: str) -> str:
    if result is None:
        return f"the evaluation has no slice {where!r}"
    known = ", ".join(sorted(result.metrics)) or "none"
    return f"the evaluation has no {what} of {metric!r} on this slice (metrics: {known}), {result.examples} examples"


def _latency(candidate: CandidateReport, device: DeviceProfile, limit: float) -> Check:
    latency = candidate.latency
    bound = f"at most {limit:.6g}"
    if latency is None or latency.ratio is None or math.isnan(latency.ratio):
        why = latency.note if latency and latency.note else "no ratio was measured"
        return Check(
            what=LATENCY_RATIO,
            where=device.name,
            bound=bound,
            measured=f"not judged: {why}",
            verdict="not_enough_data",
        )
    measured = f"{latency.ratio:.6g}" + (f" ({latency.note})" if latency.note else "")
    return _budget(LATENCY_RATIO, device, bound, measured, latency.ratio <= limit * (1 + FLOAT32_EPSILON))


def _size(what: str, device: DeviceProfile, limit: int, size: int | None) -> Check:
    bound = f"at most {limit:,}"
    if size is None:
        measured = "the evaluation does not tell it"
        return Check(what=what, where=device.name, bound=bound, measured=measured, verdict="not_enough_data")
    return _budget(what, device, bound, f"{size:,}", size <= limit)


def _count(names: Sequence[str]) -> str:
    named = f" ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})" if names else ""
    return f"{len(names)}{named}"


def _budget(what: str, device: DeviceProfile, bound: str, measured: str, holds: bool) -> Check:
    return Check(what=what, where=device.name, bound=bound, measured=measured, verdict="pass" if holds else "fail")


def _named(slices: Sequence[SliceResult]) -> dict[str, SliceResult]:
    return {result.slice: result for result in slices}


def _figure(value: float) -> str:
    return f"{value:.6g}"

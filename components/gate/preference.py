"""Chooses which of the passing candidates a device gets, and computes their Pareto fronts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special
from typing_extensions import assert_never

from components.facts.conversion import Converted
from components.facts.device import DeviceReport, VelaFacts
from components.facts.evaluation import CandidateReport
from components.facts.slices import overall
from components.facts.tools.phone import AdbFacts
from components.gate.evidence import evidence_of_values
from components.gate.holm import corrected
from components.metrics.jackknife_error import standard_error
from components.spec.gate import GateSpec

# As for bounds, values that differ by rounding in float32 are equal.
_ROUNDING = 2.0**-23


def choose(
    passing: Sequence[CandidateReport],
    spans: Mapping[str, float],
    policy: GateSpec,
    less_is_better: bool,
    on_device: DeviceReport | None,
) -> tuple[CandidateReport, str]:
    """Return the best of the passing candidates, and why it was chosen.

    Args:
        passing: The passing candidates, at least one, in the order of the pipeline file.
        spans: As in `components.facts.evaluation.EvaluationReport`.
        policy: The preference. The first metric ranks accuracy.
        less_is_better: Whether smaller values of that metric are better.
        on_device: Facts from the device's own tools.
    """
    among = _close(passing, spans, policy, less_is_better) if policy.prefer.within is not None else passing
    # min() keeps the first of equals.
    best = min(among, key=lambda candidate: _rank(candidate, policy, less_is_better, _times(candidate, on_device)))
    why = _why_this(best, len(among), policy, _times(best, on_device))
    if policy.prefer.within is not None and len(passing) > 1:
        top = min(passing, key=lambda candidate: _badness(candidate, policy.metrics[0].name, less_is_better))
        why += _how_close(best, top, len(passing), len(among), policy)
    return best, why


def fronts(
    passing: Sequence[CandidateReport], metric: str, less_is_better: bool, on_device: DeviceReport | None
) -> dict[str, tuple[str, ...]]:
    """Return the Pareto front of each cost: the candidates that no other one beats in a metric without costing more.

    Candidates whose cost or metric was not measured are left out, and so are costs that were not measured at all.

    Args:
        passing: The candidates that pass.
        metric, less_is_better: The metric that ranks accuracy.
        on_device: Facts from the device's own tools.

    Returns:
        Cost (`bytes`, `gzip bytes`, `host time`, `phone time`, `NPU cycles`) -> names from the lowest cost to the
        highest.
    """
    found = {}
    for cost in ("bytes", "gzip bytes", "host time", "phone time", "NPU cycles"):
        points = [
            (price, _badness(candidate, metric, less_is_better), candidate.name)
            for candidate in passing
            if (price := _cost(candidate, cost, _times(candidate, on_device))) is not None
        ]
        front, least = [], math.inf
        for _, badness, name in sorted(points, key=lambda point: point[:2]):
            if badness < least:
                front.append(name)
                least = badness
        if front:
            found[cost] = tuple(front)
    return found


def _cost(candidate: CandidateReport, cost: str, times: VelaFacts | AdbFacts | None) -> float | None:
    match cost:
        case "bytes":
            return _file_bytes(candidate)
        case "gzip bytes":
            return candidate.compressed.gzip if candidate.compressed else None
        case "host time":
            return _ratio(candidate)
        case "phone time":
            return times.latency_us if isinstance(times, AdbFacts) and not times.disagreement else None
        case _:
            return times.cycles if isinstance(times, VelaFacts) else None


def _close(
    passing: Sequence[CandidateReport], spans: Mapping[str, float], policy: GateSpec, less_is_better: bool
) -> list[CandidateReport]:
    """The candidates that are close enough to the most accurate one, which is always among them."""
    metric, within = policy.metrics[0].name, policy.prefer.within or 0.0
    top = min(passing, key=lambda candidate: _badness(candidate, metric, less_is_better))
    others = [candidate for candidate in passing if candidate is not top]
    match policy.decide_on:
        case "estimate":
            close = [_loss(each, top, metric, less_is_better) <= within for each in others]
        case "interval":
            close = [
                _loss(each, top, metric, less_is_better) + _half_width(each, top, metric) <= within for each in others
            ]
        case "test":
            p_values = [_p_of_loss(each, top, metric, less_is_better, within, spans.get(metric)) for each in others]
            close = [p <= policy.error_rate for p in corrected(p_values)]
        case _:
            assert_never(policy.decide_on)
    accepted = [each.name for each, one in zip(others, close, strict=True) if one]
    return [candidate for candidate in passing if candidate is top or candidate.name in accepted]


def _loss(candidate: CandidateReport, top: CandidateReport, metric: str, less_is_better: bool) -> float:
    own, best = (_badness(each, metric, less_is_better) for each in (candidate, top))
    return own - best - _ROUNDING * max(abs(own), abs(best)) if math.isfinite(own) else math.inf


def _without_each_part(candidate: CandidateReport, top: CandidateReport, metric: str) -> tuple[list[float], list[int]]:
    """The difference of two candidates without each part of the examples, and the sizes of the parts."""
    own, best = overall(candidate.slices), overall(top.slices)
    if own is None or best is None or own.parts != best.parts:
        return [], []
    one, other = (np.asarray(each.without.get(metric, ()), np.float64) for each in (own, best))
    return ((one - other).tolist(), list(own.parts)) if len(one) == len(other) == len(own.parts) else ([], [])


def _is_grouped(candidate: CandidateReport) -> bool:
    whole = overall(candidate.slices)
    return whole is not None and whole.groups is not None


def _half_width(candidate: CandidateReport, top: CandidateReport, metric: str) -> float:
    deleted, sizes = _without_each_part(candidate, top, metric)
    if len(deleted) < 2:
        return math.inf
    difference = _badness(candidate, metric, True) - _badness(top, metric, True)
    # The same interval as for changes from the baseline.
    return float(special.stdtrit(len(sizes) - 1, 0.975)) * standard_error(
        difference, deleted, sizes, _is_grouped(candidate)
    )


def _p_of_loss(
    candidate: CandidateReport,
    top: CandidateReport,
    metric: str,
    less_is_better: bool,
    within: float,
    span: float | None,
) -> float:
    own, best = overall(candidate.slices), overall(top.slices)
    if own is None or best is None or metric not in own.metrics or metric not in best.metrics:
        return 1.0
    sign = -1 if less_is_better else 1
    evidence = evidence_of_values(own, best, metric, -sign * within, sign, span)
    return 1.0 if isinstance(evidence, str) else evidence.p


def _how_close(best: CandidateReport, top: CandidateReport, passing: int, close: int, policy: GateSpec) -> str:
    metric = policy.metrics[0].name
    how = {"estimate": "measured", "interval": "shown by its 95 % interval", "test": "shown by a test"}[
        policy.decide_on
    ]
    if best is top:
        return f"; it has the best {metric} of {passing} that pass, and no preferred candidate is close enough"
    values = " against ".join(f"{_badness(each, metric, True):.6g}" for each in (best, top))
    return (
        f"; of {passing} that pass, {close} are within {policy.prefer.within:g} of the best {metric}, that of "
        f"{top.name}, as {how} ({values})"
    )


def _times(candidate: CandidateReport, on_device: DeviceReport | None) -> VelaFacts | AdbFacts | None:
    """The figures that show how fast the candidate is on the device itself."""
    facts = on_device.of(candidate.name) if on_device else None
    found = (facts.vela, facts.adb) if facts is not None else ()
    return next((each for each in found if isinstance(each, VelaFacts | AdbFacts)), None)


def _rank(
    candidate: CandidateReport, policy: GateSpec, less_is_better: bool, times: VelaFacts | AdbFacts | None
) -> tuple[float, float, float]:
    accuracy, size = _badness(candidate, policy.metrics[0].name, less_is_better), float(_file_bytes(candidate))
    match policy.prefer.by:
        case "smallest":
            return size, accuracy, size
        case "smallest_compressed":
            compressed = candidate.compressed
            return (math.inf, size, accuracy) if compressed is None else (compressed.gzip, accuracy, size)
        case "fastest" if isinstance(times, VelaFacts):
            # Prefer the device's cost model to this machine's kernels. Operators that fall back to the CPU have no
            # cycles, so fewer of them come first.
            return len(times.cpu_operators), math.inf if times.cycles is None else times.cycles, accuracy
        case "fastest" if isinstance(times, AdbFacts):
            return math.inf if times.disagreement else times.latency_us, accuracy, size
        case "fastest":
            ratio = _ratio(candidate)
            return (math.inf, size, accuracy) if ratio is None else (ratio, accuracy, size)
        case "most_accurate":
            return accuracy, accuracy, size
        case _:
            assert_never(policy.prefer.by)


def _ratio(candidate: CandidateReport) -> float | None:
    ratio = candidate.latency.ratio if candidate.latency else None
    return None if ratio is None or math.isnan(ratio) else ratio


def _badness(candidate: CandidateReport, name: str, less_is_better: bool) -> float:
    """Return the metric with its sign set so that less is better; infinity if it wasn't measured."""
    whole = overall(candidate.slices)
    metric = whole.metrics.get(name) if whole else None
    if metric is None or math.isnan(metric.value):
        return math.inf
    return metric.value if less_is_better else -metric.value


def _file_bytes(candidate: CandidateReport) -> int:
    return candidate.outcome.inspection.file_bytes if isinstance(candidate.outcome, Converted) else 0


def _why_this(best: CandidateReport, passing: int, policy: GateSpec, times: VelaFacts | AdbFacts | None) -> str:
    ratio = _ratio(best)
    whole = overall(best.slices)
    metric = whole.metrics.get(policy.metrics[0].name) if whole else None
    match policy.prefer.by:
        case "smallest":
            figure = f"{_file_bytes(best):,} bytes"
        case "smallest_compressed":
            figure = f"{best.compressed.gzip:,} bytes under gzip" if best.compressed else "not compressed"
        case "fastest" if isinstance(times, AdbFacts):
            figure = "time was not judged" if times.disagreement else f"{times.latency_us:,.0f} µs on the phone"
        case "fastest" if isinstance(times, VelaFacts):
            fallen = len(times.cpu_operators)
            cycles = "nothing runs on the NPU" if times.cycles is None else f"{times.cycles:,} NPU cycles"
            figure = f"{cycles}, {fallen} operators on the CPU" if fallen else cycles
        case "fastest":
            figure = "latency was not judged" if ratio is None else f"{ratio:.2f} of the float model's time"
        case "most_accurate":
            figure = (
                f"{policy.metrics[0].name} {metric.value:.6g}" if metric else f"{policy.metrics[0].name} not measured"
            )
        case _:
            assert_never(policy.prefer.by)
    if passing == 1:
        return f"{best.name} is the only candidate that passes ({figure})"
    if policy.prefer.by == "fastest" and ratio is None and times is None:
        # An untimed candidate is best only if no passing candidate was timed.
        return (
            f"latency was not judged, so the smallest was chosen instead of the fastest: {best.name} "
            f"of {passing} candidates that pass ({_file_bytes(best):,} bytes)"
        )
    what = (
        "smallest when compressed" if policy.prefer.by == "smallest_compressed" else policy.prefer.by.replace("_", " ")
    )
    return f"{best.name} is the {what} of {passing} candidates that pass ({figure})"

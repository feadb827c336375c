"""Formats figures and the gate's checks for the report, the terminal, Kubeflow's pages, and the run status."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from typing_extensions import assert_never

from components.core.errors import some_of
from components.core.values import FrozenModel
from components.facts.decision import Check, Decision, Operation, Requirement, Unit, Verdict
from components.facts.evaluation import Flips, MetricValue, UnequalRanges


def figure(value: float | None, digits: int = 4) -> str:
    """Format a number with fixed decimal places; a dash for None and NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"  # noqa: RUF001


def signed(value: float | None, digits: int = 4) -> str:
    """Like `figure`, but with a sign unless the value rounds to zero."""
    if value is None or math.isnan(value):
        return figure(value, digits)
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else figure(0.0, digits)


def with_interval(metric: MetricValue | None, digits: int = 4) -> str:
    """Format a metric as `0.8910 [0.8720, 0.9090]`."""
    if metric is None:
        return figure(None)
    if metric.lower is None or metric.upper is None:
        return figure(metric.value, digits)
    return f"{figure(metric.value, digits)} [{figure(metric.lower, digits)}, {figure(metric.upper, digits)}]"


def times(ratio: float | None) -> str:
    """Format a ratio with a multiplication sign."""
    return figure(None) if ratio is None else f"{ratio:.2f}×"  # noqa: RUF001


def duration(seconds: float | None) -> str:
    """Format a duration as `31.4 s` or `2 min 5 s`."""
    if seconds is None:
        return figure(None)
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def verdict(value: str | None) -> str:
    """Format a verdict for display."""
    return figure(None) if value is None else value.replace("_", " ")


class CheckWords(FrozenModel):
    """One check as text.

    Attributes:
        what: The quantity, with its unit.
        where: The slice, or the device's name for a budget.
        bound: `at least 0.85`.
        measured: `0.8312 [0.8080, 0.8544], 1000 examples`.
        verdict: The verdict of this check.
    """

    what: str
    where: str
    bound: str
    measured: str
    verdict: Verdict


class _Form(NamedTuple):
    """How the bound and the measured value of a unit are formatted, and the text after the bound."""

    bound: Callable[[float], str]
    measured: Callable[[float], str]
    after_bound: str = ""


_FIGURE, _ROUNDED, _WHOLE = "{:.6g}".format, "{:.4g}".format, "{:,.0f}".format
_OPERATIONS: dict[Operation, str] = {
    "at_least": "at least",
    "at_most": "at most",
    "drop_at_most": "a drop of at most",
    "rise_at_most": "a rise of at most",
}
_FORMS: dict[Unit, _Form] = {
    "": _Form(_FIGURE, _FIGURE),
    "bytes": _Form(_WHOLE, _WHOLE),
    "cycles": _Form(_WHOLE, _WHOLE),
    "operators": _Form(_WHOLE, _WHOLE),
    "ratio": _Form(_FIGURE, _FIGURE),
    "microseconds": _Form(_FIGURE, _FIGURE, " µs"),
    "fraction_of_values": _Form(_FIGURE, _FIGURE, " of all values"),
    "state_error": _Form(_FIGURE, _FIGURE, " at every time step"),
    "LSB": _Form("{:,}".format, _ROUNDED),
    "mean_LSB_from_desktop": _Form(_ROUNDED, _ROUNDED, " LSB from the desktop runtime on average"),
}


def in_words(check: Check | Requirement) -> CheckWords:
    """Convert a check to text."""
    if isinstance(check, Requirement):
        bound, measured = check.bound, check.measured
    else:
        form = _FORMS[check.unit]
        bound = f"{_OPERATIONS[check.op]} {form.bound(check.bound)}{form.after_bound}"
        measured = "" if check.measured is None else form.measured(check.measured)
        if check.lower is not None and check.upper is not None:
            measured += f" [{form.measured(check.lower)}, {form.measured(check.upper)}]"
        measured += check.note
    return CheckWords(what=check.quantity, where=check.scope, bound=bound, measured=measured, verdict=check.verdict)


def meaning_of(decision: Decision) -> str:
    """Explain what the verdicts on metrics mean, and what they don't show."""
    match decision.decide_on:
        case "estimate":
            return (
                "Metrics are compared with their bounds as measured. This does not show whether the bounds hold on "
                "other examples: a candidate that breaks a bound can pass by chance, especially on small slices or "
                "with many candidates. `decide_on: test` limits how often that happens."
            )
        case "interval":
            return (
                "The 95 % interval of each metric is compared with its bound, one by one. This does not show how often "
                "one of many candidates or slices passes by chance. `decide_on: test` limits that."
            )
        case "test":
            return (
                f"Every bound on a metric is tested. If all candidates break a bound, one of them is blessed with a "
                f"probability of at most {decision.alpha:g}. A test that does not pass proves nothing by itself: only "
                "`fail` shows that a bound is broken."
            )
        case _:
            assert_never(decision.decide_on)


def place_on_the_front(decision: Decision) -> str:
    """Say which candidates are on the Pareto front of each cost, and whether the chosen one is; empty without any."""
    if decision.chosen is None:
        return ""
    words = []
    for cost, names in decision.fronts.items():
        if decision.chosen in names:
            better = f"a better {decision.metric} at no more {cost}"
            place = f"{decision.chosen} is on it: no other passing candidate has {better}"
        else:
            place = f"{decision.chosen} is not on it"
        words.append(f"Pareto front of {decision.metric} against {cost}: {', '.join(names)}. {place}.")
    return " ".join(words)


def flips(found: Flips | None) -> str:
    """Format flips as `3 lost, 1 gained`; empty without any."""
    return f"{found.lost:,} lost, {found.gained:,} gained" if found and (found.lost or found.gained) else ""


def shares(by_output: dict[str, float]) -> str:
    """Format shares of several outputs as ` (boxes 3.00%, scores 0.00%)`; empty without any."""
    return f" ({', '.join(f'{name} {share:.2%}' for name, share in by_output.items())})" if by_output else ""


def unequal(fact: UnequalRanges) -> str:
    """Say why channels of an output collapse when it is quantized, and how to fix it."""
    several = len(fact.channels) > 1
    which = f"channel{'s' if several else ''} {some_of(map(str, fact.channels))} of axis {fact.axis}"
    return (
        f"The output {fact.output!r} has one scale, and one of its steps is {fact.step:.3g}, because it reaches from "
        f"{fact.widest_low:.4g} to {fact.widest_high:.4g}. In the float model, {which} "
        f"reach{'' if several else 'es'} only from {fact.low:.4g} to {fact.high:.4g}: {fact.steps:.1f} steps at most, "
        "so quantization erases them. Return values of such different ranges (such as boxes and scores) as separate "
        "outputs, or scale them to similar ranges in the model and back in the task's postprocess()."
    )

"""The gate's checks as text, for the report, for Kubeflow's pages, and for the run status."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from components.core.values import FrozenModel
from components.facts.decision import Check, Operation, Requirement, Unit, Verdict


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


def _figure(value: float) -> str:
    return f"{value:.6g}"


def _rounded(value: float) -> str:
    return f"{value:.4g}"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


_OPERATIONS: dict[Operation, str] = {
    "at_least": "at least",
    "at_most": "at most",
    "drop_at_most": "a drop of at most",
    "rise_at_most": "a rise of at most",
}
_FORMS: dict[Unit, _Form] = {
    "": _Form(_figure, _figure),
    "bytes": _Form(_whole, _whole),
    "cycles": _Form(_whole, _whole),
    "operators": _Form(_whole, _whole),
    "ratio": _Form(_figure, _figure),
    "fraction_of_values": _Form(_figure, _figure, " of all values"),
    "state_error": _Form(_figure, _figure, " at every time step"),
    "LSB": _Form("{:,}".format, _rounded),
    "mean_LSB_from_desktop": _Form(_rounded, _rounded, " LSB from the desktop runtime in the mean"),
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

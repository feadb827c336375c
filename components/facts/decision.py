"""What the gate decided for a device."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from components.core.values import FrozenModel

Verdict = Literal["pass", "fail", "not_enough_data"]


# A drop or a rise is the change from the baseline in the worse direction.
Operation = Literal["at_least", "at_most", "drop_at_most", "rise_at_most"]
# What figures count; `pipelines.report.checks` says how each is written. A metric has none.
Unit = Literal[
    "", "bytes", "cycles", "operators", "ratio", "fraction_of_values", "state_error", "LSB", "mean_LSB_from_desktop"
]


class Check(FrozenModel):
    """One numeric bound held against one measured figure.

    Attributes:
        quantity: What is measured (`accuracy`, `change of accuracy`, `file bytes`, `latency ratio`).
        scope: The slice, or the device's name for a budget.
        op: How the figure must relate to the bound.
        bound: The bound.
        measured: The figure; None if it was not measured.
        unit: Of both.
        verdict: Of this check alone.
        lower, upper: Ends of the figure's 95 % confidence interval, where there is one.
        note: What else must be known to judge the figure, or why it was not measured.
    """

    quantity: str
    scope: str
    op: Operation
    bound: float
    measured: float | None
    unit: Unit = ""
    verdict: Verdict
    lower: float | None = None
    upper: float | None = None
    note: str = ""


class Requirement(FrozenModel):
    """One requirement that is no number: a scheme, a set of operators, a file that a tool takes.

    Attributes:
        quantity, scope, verdict: As for `Check`.
        bound: What is required, in words.
        measured: What was found, in words.
    """

    quantity: str
    scope: str
    bound: str
    measured: str
    verdict: Verdict

    @model_validator(mode="before")
    @classmethod
    def _with_earlier_names(cls, value: Any) -> Any:
        """Releases from before checks were numeric hold `what` and `where`."""
        renamed = {"what": "quantity", "where": "scope"}
        return {renamed.get(name, name): one for name, one in value.items()} if isinstance(value, dict) else value


class CandidateDecision(FrozenModel):
    """What the gate thinks of one candidate for one device: `fail` beats `not_enough_data` beats `pass`."""

    candidate: str
    verdict: Verdict
    checks: tuple[Check | Requirement, ...]

    @property
    def reasons(self) -> tuple[Check | Requirement, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.verdict != "pass")


class Decision(FrozenModel):
    """The gate's decision for one device.

    Attributes:
        device: Name of the device profile.
        verdict: `pass` if a candidate is blessed; else `fail`, or `not_enough_data` if that is all that kept every
            candidate that did not plainly fail from passing.
        chosen: The blessed candidate; None unless the verdict is `pass`.
        chosen_sha256: Digest of the blessed bytes: what a pusher must compare before it delivers.
        why: One sentence: why this one, or why none.
        candidates: In the order of the pipeline file.
    """

    device: str
    verdict: Verdict
    chosen: str | None
    chosen_sha256: str | None
    why: str
    candidates: tuple[CandidateDecision, ...]

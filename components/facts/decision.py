"""What the gate decided for a device."""

from __future__ import annotations

from typing import Literal

from components.core.values import FrozenModel

Verdict = Literal["pass", "fail", "not_enough_data"]


class Check(FrozenModel):
    """One bound held against one measured value.

    Attributes:
        what: The quantity, with its unit (`accuracy`, `change of accuracy`, `file bytes`, `latency ratio`).
        where: The slice, or the device's name for a budget.
        bound: The bound in words and figures (`at least 0.85`).
        measured: The value in words and figures (`0.8312 [0.8080, 0.8544], 1000 examples`).
        verdict: Of this check alone.
    """

    what: str
    where: str
    bound: str
    measured: str
    verdict: Verdict


class CandidateDecision(FrozenModel):
    """What the gate thinks of one candidate for one device: `fail` beats `not_enough_data` beats `pass`."""

    candidate: str
    verdict: Verdict
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[Check, ...]:
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

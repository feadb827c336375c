"""Results of the calibration audit."""

from __future__ import annotations

from typing import Literal

from components.core.values import FrozenModel

Severity = Literal["info", "warning", "error"]


class Finding(FrozenModel):
    """One finding of the calibration audit. An error stops the run.

    Attributes:
        check: Name of the check (`non_finite`, `constant`, `missing_stratum`, `range`, `leak`, `stability`, `size`).
        where: The input or feature.
        message: The finding, with figures.
        remedy: How to fix it; empty if nothing needs fixing.
    """

    severity: Severity
    check: str
    where: str
    message: str
    remedy: str = ""


class RangeFact(FrozenModel):
    """The values of one model input, in the sample and in the split that it was drawn from.

    Attributes:
        input: Name of the model input ("" if the model has one unnamed input).
        sample: Smallest and largest finite value in the sample.
        split: Smallest and largest finite value in the complete split.
        halves: Smallest and largest finite value in each of two disjoint halves of the sample.
        histogram: Counts of the sample's values in equal bins over `sample`.
        split_histogram: Counts of the split's values in the same bins. The outermost bins include values outside them.
    """

    input: str
    sample: tuple[float, float]
    split: tuple[float, float]
    halves: tuple[tuple[float, float], tuple[float, float]]
    histogram: tuple[int, ...]
    split_histogram: tuple[int, ...]


class StratumFact(FrozenModel):
    """How many examples one stratum has, and how many are in the sample."""

    value: str
    available: int
    taken: int


class AuditReport(FrozenModel):
    """All facts about a calibration sample."""

    asked: int
    available: int
    taken: int
    seed: int
    strata: tuple[StratumFact, ...] = ()
    ranges: tuple[RangeFact, ...] = ()
    findings: tuple[Finding, ...] = ()

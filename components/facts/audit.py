"""What the calibration audit found."""

from __future__ import annotations

from typing import Literal

from components.core.values import FrozenModel

Severity = Literal["info", "warning", "error"]


class Finding(FrozenModel):
    """One thing that the calibration audit noticed. An error stops the run.

    Attributes:
        check: Which check found it (`non_finite`, `constant`, `missing_stratum`, `range`, `leak`, `stability`, `size`).
        where: Input or feature.
        message: What was found, with figures.
        remedy: What the user can do; empty for mere information.
    """

    severity: Severity
    check: str
    where: str
    message: str
    remedy: str = ""


class RangeFact(FrozenModel):
    """The values of one model input, in the sample and in the split it was drawn from.

    Attributes:
        input: Name of the model input ("" if the model has one unnamed input).
        sample: Least and greatest finite value in the sample.
        split: The same over the whole split.
        halves: Least and greatest of two disjoint halves of the sample.
        histogram: Counts of the sample's values in equal bins over `sample`.
        split_histogram: Counts of the split's values in the same bins; what is outside counts in the outermost.
    """

    input: str
    sample: tuple[float, float]
    split: tuple[float, float]
    halves: tuple[tuple[float, float], tuple[float, float]]
    histogram: tuple[int, ...]
    split_histogram: tuple[int, ...]


class StratumFact(FrozenModel):
    """How many examples of one stratum exist, and how many were taken."""

    value: str
    available: int
    taken: int


class AuditReport(FrozenModel):
    """What is known about a calibration sample."""

    asked: int
    available: int
    taken: int
    seed: int
    strata: tuple[StratumFact, ...] = ()
    ranges: tuple[RangeFact, ...] = ()
    findings: tuple[Finding, ...] = ()

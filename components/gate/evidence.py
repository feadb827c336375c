"""What the evaluation's examples say for and against a bound: p-values, and how many examples would be enough.

Right-or-wrong metrics are tested exactly: a change by `components.gate.paired`, a value by the binomial distribution.
Other metrics use the jackknife's standard error with Student's t. On its own, that passes too many candidates whose
errors are rare and large: where no such error is among the examples, nothing shows in the standard error. So the
variance includes what errors that are not among the examples would add to it if the bound did not hold: the gap
between estimate and bound, times the size of one error. That is the variance that a score test uses under its null
hypothesis (Rao 1948, "Large sample tests of statistical hypotheses concerning several parameters", Mathematical
Proceedings of the Cambridge Philosophical Society 44:50-57).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import special

from components.facts.decision import Method
from components.facts.evaluation import SliceResult
from components.gate import paired
from components.metrics.jackknife_error import standard_error

# A metric without a least and a greatest value says too little about errors it has not shown on fewer examples than
# this, or as few groups, or if fewer than this share of the parts change it at all.
LEAST_EXAMPLES = 100
LEAST_ACTIVE = 0.5
# Values that differ by no more are the same number, computed in float32.
_SAME = 1e-7
# With more flips than this, the normal distribution is close enough to say how many examples are.
_NORMAL_FLIPS = 50
# More examples than this are no help to anybody.
_MOST_EXAMPLES = 10**9
_LARGEST_MARGIN = 1 - 1e-9


class Evidence(Protocol):
    """What the examples say about one bound."""

    @property
    def method(self) -> Method:
        """How the bound is tested."""

    @property
    def p(self) -> float:
        """How likely an outcome as good is if the bound does not hold."""

    @property
    def p_of_harm(self) -> float:
        """How likely an outcome as bad is if the bound holds."""

    def enough(self, level: float) -> int | None:
        """About how many examples give `p` at most this level if the estimate stays; None if it is beyond the bound."""


@dataclass(frozen=True)
class PairedCounts:
    """The change of a right-or-wrong metric against a permitted drop. Its fields are arguments of `paired.p_value`."""

    lost: int
    gained: int
    examples: int
    margin: float
    method: Method = "exact paired test"

    @property
    def p(self) -> float:
        """As in `Evidence`."""
        return paired.p_value(self.lost, self.gained, self.examples, self.margin)

    @property
    def p_of_harm(self) -> float:
        """As in `Evidence`."""
        return paired.p_value_of_harm(self.lost, self.gained, self.examples, self.margin)

    def enough(self, level: float) -> int | None:
        """As in `Evidence`."""
        score = float(paired.score(self.lost, self.gained, self.examples, self.margin))
        # The score grows with the square root of the number of examples, and is normal if there are enough flips.
        times = (float(special.ndtri(1 - level)) / score) ** 2 if score > 0 else math.inf
        normal = times < math.inf and (self.lost + self.gained) * times > _NORMAL_FLIPS
        return _first(
            self.examples * times, lambda n: normal or paired.p_value(*self._scaled(n), n, self.margin) <= level
        )

    def _scaled(self, examples: int) -> tuple[int, int]:
        # Rounded against the candidate.
        times = examples / self.examples
        return math.ceil(self.lost * times), math.floor(self.gained * times)


@dataclass(frozen=True)
class Share:
    """The share of right answers against a bound. `sign` is 1 if it must be at least the bound, -1 for at most."""

    right: int
    examples: int
    bound: float
    sign: int
    method: Method = "exact binomial test"

    @property
    def p(self) -> float:
        """As in `Evidence`."""
        return _binomial(self.right, self.examples, self.bound, self.sign)

    @property
    def p_of_harm(self) -> float:
        """As in `Evidence`."""
        return _binomial(self.right, self.examples, self.bound, -self.sign)

    def enough(self, level: float) -> int | None:
        """As in `Evidence`."""
        share = self.right / self.examples
        gap = self.sign * (share - self.bound)
        z = float(special.ndtri(1 - level))
        first = z * z * self.bound * (1 - self.bound) / gap**2 if gap > 0 else math.inf
        rounded = math.floor if self.sign > 0 else math.ceil
        return _first(first, lambda n: _binomial(rounded(share * n), n, self.bound, self.sign) <= level)


@dataclass(frozen=True)
class Jackknife:
    """An estimate with the values that it has without each part of the examples.

    Attributes:
        gap: By how much the estimate is on the right side of the bound; negative beyond it.
        error: Standard error of the estimate.
        parts: The number of parts.
        examples: The number of examples.
        worst, best: By how much one error, and one improvement, can change the estimate's sum over all examples.
        grows: Whether `worst` and `best` come from whole parts, so that they grow as the parts do.
    """

    gap: float
    error: float
    parts: int
    examples: int
    worst: float
    best: float
    grows: bool
    method: Method = "paired jackknife"

    @property
    def p(self) -> float:
        """As in `Evidence`."""
        return self._tail(self.gap, self.worst)

    @property
    def p_of_harm(self) -> float:
        """As in `Evidence`."""
        return self._tail(-self.gap, self.best)

    def _tail(self, gap: float, one: float) -> float:
        error = math.sqrt(self.error**2 + max(gap, 0.0) * one / self.examples)
        if error == 0:
            return 1.0
        return float(special.stdtr(self.parts - 1, -gap / error))

    def enough(self, level: float) -> int | None:
        """As in `Evidence`."""
        if self.gap <= 0:
            return None
        t = float(special.stdtrit(self.parts - 1, 1 - level))
        # gap^2 n = t^2 (error^2 examples + gap worst), where worst may grow with the square root of n.
        constant = t * t * self.error**2 * self.examples
        if not self.grows:
            return _first((constant + t * t * self.gap * self.worst) / self.gap**2, lambda _: True)
        linear = t * t * self.gap * self.worst / math.sqrt(self.examples)
        root = (linear + math.sqrt(linear**2 + 4 * self.gap**2 * constant)) / (2 * self.gap**2)
        return _first(max(root**2, LEAST_EXAMPLES), lambda _: True)


def evidence_on(
    result: SliceResult, baseline: SliceResult | None, metric: str, bound: float, sign: int, span: float | None
) -> Evidence | str:
    """Return the evidence on one bound of one slice, or why there is none.

    Args:
        result: The candidate's results.
        baseline: The baseline's, if the bound is on the change.
        metric: Name of the metric.
        bound: The bound on the value or the change.
        sign: 1 if it must be at least the bound, -1 for at most.
        span: As for `of_parts`.
    """
    flips = result.flips.get(metric)
    if flips and result.groups is None:
        lost, gained = (flips.lost, flips.gained) if sign > 0 else (flips.gained, flips.lost)
        if baseline is not None:
            return PairedCounts(lost, gained, result.examples, min(-sign * bound, _LARGEST_MARGIN))
        return Share(round(result.metrics[metric].value * result.examples), result.examples, bound, sign)
    deleted = np.asarray(result.without.get(metric, ()), np.float64)
    estimate = result.metrics[metric].value
    if baseline is not None and len(deleted):
        reference = baseline.without.get(metric, ())
        deleted = deleted - reference if len(reference) == len(deleted) else deleted[:0]
        estimate = result.change[metric].value
    if not len(deleted):
        return "no confidence interval"
    return of_parts(sign * (estimate - bound), estimate, deleted.tolist(), result.parts, sign, span, result.groups)


def of_parts(
    gap: float,
    estimate: float,
    deleted: Sequence[float],
    sizes: Sequence[int],
    sign: int,
    span: float | None,
    groups: int | None = None,
) -> Jackknife | str:
    """Return the evidence of a metric that isn't right or wrong, or why there is none.

    Args:
        gap: As in `Jackknife`.
        estimate: The metric or its change.
        deleted: The estimate without each of at least 2 parts.
        sizes: The number of examples in each part.
        sign: 1 if more is better, -1 if less is.
        span: For a mean over examples, the difference between the greatest and the least value that one example can
            have or change by; None for other metrics.
        groups: The number of groups that examples belong to; None if they are independent.
    """
    examples, parts, error = sum(sizes), len(sizes), standard_error(estimate, deleted, sizes)
    together = 1.0 if groups is None else _group_of_an_example(sizes, groups)
    if span is not None:
        return Jackknife(gap, error, parts, examples, worst=span * together, best=span * together, grows=False)
    if examples < LEAST_EXAMPLES:
        return f"fewer than {LEAST_EXAMPLES}, which a metric needs that is not a mean between two bounds"
    if examples / together < LEAST_EXAMPLES:
        return (
            f"they say as much as {examples / together:.0f} groups of equal sizes, and a metric that is not a mean "
            f"between two bounds needs {LEAST_EXAMPLES}"
        )
    values, m = np.asarray(deleted, np.float64), np.asarray(sizes, np.float64)
    whole = float((values * (1 - m / examples)).sum() / (parts - 1))
    # What each part adds to the sum over all examples.
    added = sign * (examples - m) * (whole - values)
    active = float((np.abs(whole - values) > _SAME * max(1.0, float(np.abs(values).max()))).mean())
    if active < LEAST_ACTIVE:
        return f"only {round(active * parts)} of {parts} parts of the examples change the metric"
    return Jackknife(gap, error, parts, examples, max(-added.min(), 0.0), max(added.max(), 0.0), grows=True)


def _group_of_an_example(sizes: Sequence[int], groups: int) -> float:
    """The mean size of the group that an example belongs to, all of which can be wrong at once.

    That is the sum of the squares of the groups' sizes, divided by their sum. Where parts are random unions of groups,
    the squared deviations of the parts' sizes have this sum times 1 - 1/parts as expectation.
    """
    examples, parts = sum(sizes), len(sizes)
    if groups == parts:
        return sum(m * m for m in sizes) / examples
    deviations = sum((m - examples / parts) ** 2 for m in sizes)
    return max(deviations / (1 - 1 / parts), examples**2 / groups) / examples


def _binomial(right: int, examples: int, bound: float, sign: int) -> float:
    """The probability of at least (sign 1) or at most (-1) so many right answers at the rate `bound`."""
    if not 0 < bound < 1:
        return float(sign * (right / examples - bound) <= 0)
    if sign > 0:
        return float(special.betainc(right, examples - right + 1, bound)) if right else 1.0
    return float(1 - special.betainc(right + 1, examples - right, bound)) if right < examples else 1.0


def _first(start: float, holds: Callable[[int], bool]) -> int | None:
    """The first number of examples from `start`, in steps of 5 %, that is enough; None if it is useless."""
    if not start < _MOST_EXAMPLES:
        return None
    number = max(1, math.ceil(start))
    while not holds(number):
        number += max(1, number // 20)
        if number > _MOST_EXAMPLES:
            return None
    return number

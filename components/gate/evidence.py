"""The evidence of an evaluation's examples for and against a bound: p-values, and how many examples would be enough.

Right-or-wrong metrics are tested exactly: a change by `components.gate.statistics.paired`, a value by the binomial
distribution. Means, ratios of sums, and areas under the ROC curve are tested by `components.gate.statistics.bounded`
and `ratios`. Other functions with a range use the jackknife's standard error with Student's t. By itself, that passes
too many candidates whose errors are rare and large: if no such error is among the examples, the standard error doesn't
show it. So the variance includes the contribution of errors that are not among the examples if the bound did not hold:
the gap between estimate and bound, times the size of one error. That is the variance that a score test uses under its
null hypothesis (Rao 1948, "Large sample tests of statistical hypotheses concerning several parameters", Mathematical
Proceedings of the Cambridge Philosophical Society 44:50-57). The size of one error is unknown for such a metric, and is
assumed to be at most `MOST_TIMES` the size for a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import special

from components.facts.decision import Method
from components.facts.evaluation import SliceResult
from components.gate.statistics import paired
from components.gate.statistics.bounded import POWER_QUANTILE, first_enough
from components.gate.statistics.ratios import of_samples
from components.metrics.jackknife_error import standard_error

# On fewer examples or groups than this, a metric that isn't a ratio of sums says too little about unseen errors.
LEAST_EXAMPLES = 1000
# The factor by which one example or group can change the metric's sum over all examples more than the metric's range.
MOST_TIMES = 10
# With more flips than this, the normal distribution is close enough to say how many examples are.
_NORMAL_FLIPS = 50
_LARGEST_MARGIN = 1 - 1e-9


class Evidence(Protocol):
    """The evidence of the examples on one bound."""

    @property
    def method(self) -> Method:
        """How the bound is tested."""

    @property
    def p(self) -> float:
        """How likely an outcome at least as good is if the bound does not hold."""

    @property
    def p_of_harm(self) -> float:
        """How likely an outcome at least as bad is if the bound holds."""

    def enough(self, level: float) -> int | None:
        """Approximate number of examples that make `p` at most this level in 80 % of evaluations; None if there's none.

        The true value is assumed to equal the measured one. The result is None if that is beyond the bound.
        """


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
        """See `Evidence`."""
        return paired.p_value(self.lost, self.gained, self.examples, self.margin)

    @property
    def p_of_harm(self) -> float:
        """See `Evidence`."""
        return paired.p_value_of_harm(self.lost, self.gained, self.examples, self.margin)

    def enough(self, level: float) -> int | None:
        """See `Evidence`."""
        if float(paired.score(self.lost, self.gained, self.examples, self.margin)) <= 0:
            return None

        def holds(examples: int) -> bool:
            lost, gained = self._scaled(examples)
            if lost + gained > _NORMAL_FLIPS:
                return bool(paired.score(lost, gained, examples, self.margin) >= special.ndtri(1 - level))
            return paired.p_value(lost, gained, examples, self.margin) <= level

        return first_enough(self.examples, holds)

    def _scaled(self, examples: int) -> tuple[int, int]:
        """Flips of more examples, with as many losses as in the worst of five evaluations, rounded up."""
        times = examples / self.examples
        more = POWER_QUANTILE * math.sqrt((self.lost + self.gained) * times)
        return min(examples, math.ceil(self.lost * times + more)), math.floor(self.gained * times)


@dataclass(frozen=True)
class Share:
    """The share of correct answers against a bound. `sign` is 1 if it must be at least the bound, -1 for at most."""

    right: int
    examples: int
    bound: float
    sign: int
    method: Method = "exact binomial test"

    @property
    def p(self) -> float:
        """See `Evidence`."""
        return _binomial(self.right, self.examples, self.bound, self.sign)

    @property
    def p_of_harm(self) -> float:
        """See `Evidence`."""
        return _binomial(self.right, self.examples, self.bound, -self.sign)

    def enough(self, level: float) -> int | None:
        """See `Evidence`."""
        share = self.right / self.examples
        if self.sign * (share - self.bound) <= 0:
            return None

        def holds(examples: int) -> bool:
            less = POWER_QUANTILE * math.sqrt(examples * share * (1 - share))
            right = share * examples - self.sign * less
            rounded = math.floor(right) if self.sign > 0 else math.ceil(right)
            return _binomial(min(max(rounded, 0), examples), examples, self.bound, self.sign) <= level

        return first_enough(self.examples, holds)


@dataclass(frozen=True)
class Jackknife:
    """An estimate, and its values without each part of the examples.

    Attributes:
        gap: By how much the estimate is on the right side of the bound; negative beyond it.
        error: Standard error of the estimate.
        parts: The number of parts.
        examples: The number of examples.
        worst, best: How much one error, and one improvement, can change the estimate's sum over all examples.
    """

    gap: float
    error: float
    parts: int
    examples: int
    worst: float
    best: float
    method: Method = "paired jackknife"

    @property
    def p(self) -> float:
        """See `Evidence`."""
        return self._tail(self.gap, self.worst)

    @property
    def p_of_harm(self) -> float:
        """See `Evidence`."""
        return self._tail(-self.gap, self.best)

    def _tail(self, gap: float, one: float) -> float:
        error = math.sqrt(self.error**2 + max(gap, 0.0) * one / self.examples)
        if error == 0:
            return 1.0
        return float(special.stdtr(self.parts - 1, -gap / error))

    def enough(self, level: float) -> int | None:
        """See `Evidence`."""
        if self.gap <= 0:
            return None
        t = float(special.stdtrit(self.parts - 1, 1 - level))

        def holds(examples: int) -> bool:
            # The measurement of the worst of five evaluations.
            gap = self.gap - POWER_QUANTILE * self.error * math.sqrt(self.examples / examples)
            error = math.sqrt((self.error**2 * self.examples + max(gap, 0.0) * self.worst) / examples)
            return gap > t * error

        return first_enough(LEAST_EXAMPLES, holds)


def evidence_on(
    result: SliceResult, baseline: SliceResult | None, metric: str, bound: float, sign: int, span: float | None
) -> Evidence | str:
    """Return the evidence on one bound of one slice, or why there is none.

    Args:
        result: The candidate's results.
        baseline: The baseline's results, if the bound is on the change.
        metric: Name of the metric.
        bound: The bound on the value or the change.
        sign: 1 if it must be at least the bound, -1 for at most.
        span: That of the metric, as in `components.facts.evaluation.EvaluationReport`.
    """
    flips = result.flips.get(metric)
    if flips and result.groups is None:
        lost, gained = (flips.lost, flips.gained) if sign > 0 else (flips.gained, flips.lost)
        if baseline is not None:
            return PairedCounts(lost, gained, result.examples, min(-sign * bound, _LARGEST_MARGIN))
        return Share(round(result.metrics[metric].value * result.examples), result.examples, bound, sign)
    return evidence_of_values(result, baseline, metric, bound, sign, span)


def evidence_of_values(
    result: SliceResult, reference: SliceResult | None, metric: str, bound: float, sign: int, span: float | None
) -> Evidence | str:
    """Like `evidence_on`, but without flips, for the change from any other model, the `reference`, on the same
    examples."""
    sample, theirs = (None if one is None else one.samples.get(metric) for one in (result, reference))
    if sample is not None and (reference is None or theirs is not None):
        return of_samples(sample, theirs, bound, sign, result.examples)
    if span is None:
        return (
            "it can't be tested: it must be a mean or a ratio of sums with a `range`, an area under the ROC curve, or "
            "a function with a `range`"
        )
    deleted = np.asarray(result.without.get(metric, ()), np.float64)
    estimate = result.metrics[metric].value
    if reference is not None:
        others = reference.without.get(metric, ())
        deleted = deleted - others if len(others) == len(deleted) else deleted[:0]
        estimate -= reference.metrics[metric].value
    if not len(deleted):
        return "no confidence interval"
    return of_parts(sign * (estimate - bound), estimate, deleted.tolist(), result.parts, sign, span, result.groups)


def of_parts(
    gap: float,
    estimate: float,
    deleted: Sequence[float],
    sizes: Sequence[int],
    sign: int,
    span: float,
    groups: int | None = None,
) -> Jackknife | str:
    """Return the evidence of a metric that is neither right or wrong nor a ratio of sums, or why there is none.

    Args:
        gap: See `Jackknife`.
        estimate: The metric or its change.
        deleted: The estimate without each of at least 2 parts.
        sizes: The number of examples in each part.
        sign: 1 if more is better, -1 if less is.
        span: The difference between the largest and the smallest value that the metric can have.
        groups: The number of groups that examples belong to; None if they are independent.
    """
    examples, parts, error = sum(sizes), len(sizes), standard_error(estimate, deleted, sizes, groups is not None)
    together = 1.0 if groups is None else _group_of_an_example(sizes, groups)
    if examples < LEAST_EXAMPLES:
        return f"fewer than {LEAST_EXAMPLES:,}, the minimum for a metric that is neither a mean nor a ratio of sums"
    if examples / together < LEAST_EXAMPLES:
        return (
            f"they provide as much evidence as {examples / together:.0f} groups of equal size, and a metric that is "
            f"neither a mean nor a ratio of sums needs {LEAST_EXAMPLES:,}"
        )
    values, m = np.asarray(deleted, np.float64), np.asarray(sizes, np.float64)
    whole = float((values * (1 - m / examples)).sum() / (parts - 1))
    # The contribution of each part to the sum over all examples.
    added = sign * (examples - m) * (whole - values)
    assumed = MOST_TIMES * span * together
    return Jackknife(gap, error, parts, examples, max(-added.min(), assumed), max(added.max(), assumed))


def _group_of_an_example(sizes: Sequence[int], groups: int) -> float:
    """The mean size of the group that an example belongs to, all of which can be wrong at once.

    That is the sum of the squares of the groups' sizes, divided by their sum. If parts are random unions of groups,
    the squared deviations of the parts' sizes have this sum times 1 - 1/parts as expectation.
    """
    examples, parts = sum(sizes), len(sizes)
    if groups == parts:
        return sum(m * m for m in sizes) / examples
    deviations = sum((m - examples / parts) ** 2 for m in sizes)
    return max(deviations / (1 - 1 / parts), examples**2 / groups) / examples


def _binomial(right: int, examples: int, bound: float, sign: int) -> float:
    """The probability of at least (sign 1) or at most (-1) so many correct answers at the rate `bound`."""
    if not 0 < bound < 1:
        return float(sign * (right / examples - bound) <= 0)
    if sign > 0:
        return float(special.betainc(right, examples - right + 1, bound)) if right else 1.0
    return float(1 - special.betainc(right + 1, examples - right, bound)) if right < examples else 1.0

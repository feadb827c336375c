"""Evidence on ratios of sums over units, and on their changes, from the samples that an evaluation stores.

If both models divide by the same sums, a bound on the change is a bound on a mean. Otherwise, as for precision, whose
denominators are the positive answers of each model, the ratio of the reference is a nuisance parameter.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from components.facts.decision import Method
from components.facts.sample import Sample
from components.gate.statistics.bounded import BoundedMean, p_value

# Number of values tried in the confidence interval of an unknown ratio, and the probability that the interval misses
# it.
_RATIOS, _OUTSIDE = 5, 1e-4
# How far from the estimate the interval can end, in standard errors.
_STEPS_AWAY = (4.0, 4.5, 5.0, 6.0, 8.0, 12.0, 20.0, 40.0)


@dataclass(frozen=True, eq=False)
class RatioChange:
    """The change of a ratio of sums against a bound, if the two models divide by different sums, such as precision.

    If the ratio of the reference is t, its numerators minus t times its denominators have mean zero. So the bound holds
    exactly if the candidate's, with t plus the bound, have at least the same mean. That is a bound on the mean of
    paired values, which are tested for each t of a confidence interval. The p-value is the largest one plus the
    probability that t is outside (Berger & Boos 1994, "P values maximized over a confidence set for the nuisance
    parameter", Journal of the American Statistical Association 89:1012-1016).

    Attributes:
        sample, reference: Samples of the candidate and the reference, with the same units.
        bound, sign, examples: As for `of_samples`.
    """

    sample: Sample
    reference: Sample
    bound: float
    sign: int
    examples: int
    method: Method = "bounded-mean test"

    @functools.cached_property
    def p(self) -> float:
        """See `components.gate.evidence.Evidence`."""
        return min(1.0, max(one.p for one in self._possible) + _OUTSIDE)

    @functools.cached_property
    def p_of_harm(self) -> float:
        """See `components.gate.evidence.Evidence`."""
        return min(1.0, max(one.p_of_harm for one in self._possible) + _OUTSIDE)

    def enough(self, level: float) -> int | None:
        """See `components.gate.evidence.Evidence`."""
        return max(self._possible, key=lambda one: one.p).enough(level - _OUTSIDE) if level > _OUTSIDE else None

    @functools.cached_property
    def _possible(self) -> list[BoundedMean]:
        """The bound for each ratio that the reference can have."""
        (own, divided), (its, divided_of_its) = self.sample.terms, self.reference.terms
        sign, found = float(self.sign), []
        for ratio in np.linspace(*likely_ratios(self.reference), _RATIOS):
            limit = ratio + self.bound
            values = sign * (own - limit * divided - (its - ratio * divided_of_its))
            (low, high), (least, greatest) = _ends(self.sample, limit), _ends(self.reference, ratio)
            ends = sorted((sign * (low - greatest), sign * (high - least)))
            found.append(BoundedMean(values, divided, (ends[0],), (ends[1],), self.examples))
        return found


def _ends(sample: Sample, ratio: float) -> tuple[float, float]:
    """The smallest and the largest numerator minus `ratio` times the denominator that a unit can have."""
    largest = max(sample.largest)
    return min(0.0, largest * (sample.least - ratio)), max(0.0, largest * (sample.greatest - ratio))


@functools.lru_cache(maxsize=256)
def likely_ratios(sample: Sample) -> tuple[float, float]:
    """A confidence interval for the ratio of a sample, whose probability of missing it is at most `_OUTSIDE`."""
    numerators, denominators = sample.terms
    ratio = numerators.sum() / denominators.sum()
    spread = np.sqrt(((numerators - ratio * denominators) ** 2).sum()) / denominators.sum()
    # If nothing varies, the change that one more unit would make.
    step = max(float(spread), (sample.greatest - sample.least) * max(sample.largest) / denominators.sum())

    def end(direction: int, limit: float) -> float:
        for steps in _STEPS_AWAY:
            far = ratio + direction * steps * step
            if direction * (far - limit) >= 0:
                break
            ends = sorted(-direction * each for each in _ends(sample, far))
            if p_value(-direction * (numerators - far * denominators), ends[:1]) <= _OUTSIDE / 2:
                return float(far)
        return limit

    return end(-1, sample.least), end(1, sample.greatest)


def of_samples(
    sample: Sample, reference: Sample | None, bound: float, sign: int, examples: int
) -> BoundedMean | RatioChange | str:
    """Return the evidence of a metric with a sample, or why there is none.

    Args:
        sample: The metric's sample.
        reference: The sample of the model that the bound on the change is relative to; None for a bound on the value.
        bound: The bound on the value or the change.
        sign: 1 if it must be at least the bound, -1 for at most.
        examples: The number of examples.
    """
    numerators, denominators = sample.terms
    least, greatest, outside = sample.least, sample.greatest, sample.outside
    if reference is not None:
        theirs, divided = reference.terms
        outside += reference.outside
        if len(divided) != len(denominators):
            return "it can't be tested, because the two models have different units"
        if not (outside or np.allclose(divided, denominators, rtol=1e-5, atol=0)):
            if min(denominators.sum(), divided.sum()) <= 0:
                return "it can't be tested, because a model divides by zero"
            return RatioChange(sample, reference, bound, sign, examples)
        numerators = numerators - theirs
        least, greatest = least - reference.greatest, greatest - reference.least
    if outside:
        return f"it can't be tested, because {outside} examples or groups have values outside its `range`"
    ends = [sign * (end - bound) for end in (least, greatest)]
    values = float(sign) * (numerators - bound * denominators)
    return BoundedMean(
        values,
        denominators,
        tuple(min(ends) * each for each in sample.largest),
        tuple(max(ends) * each for each in sample.largest),
        examples,
    )

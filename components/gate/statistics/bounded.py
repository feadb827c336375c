"""A test of a mean of bounded values, for samples of any size and any shape of their distribution.

The mean of values that are at least `least` is tested with Gaffke's statistic: one value of `least` is added to the
values, and all get random weights with the distribution of Bayesian bootstrap weights. The p-value is the probability
that the weighted mean is at most the bound. The added value represents values that are not among the examples: without
any loss in n values, the p-value against a mean of m below zero is (1 - m) ** n, as in an exact test. If there are
only two possible values, the test is the exact binomial test. For other distributions, it is a conjecture that the
error is at most the declared one; no distribution is known where it is greater. See docs/gate.md.

Papers: Gaffke 2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
variable", Mathematical Methods of Statistics 14:451-467. Learned-Miller & Thomas 2019, "A new confidence interval for
the mean of a bounded random variable", arXiv:1905.06208. Rubin 1981, "The Bayesian bootstrap", Annals of Statistics
9:130-134. The probability is computed on a contour through the saddlepoint (Daniels 1954, "Saddlepoint approximations
in statistics", Annals of Mathematical Statistics 25:631-650).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from components.facts.decision import Method

Array = npt.NDArray[np.float64]

# The contour is a hyperbola, in units of the inverse of the standard deviation. It bends to the side on which the
# integrand decays, so that it doesn't oscillate: away from many small values, even if a single large one outweighs
# them.
_STEP, _BENDS = 0.1, (0.3, -0.3)
_AT = np.arange(0, 6, _STEP)
_CONTOURS = [
    (
        1j * np.sinh(_AT) - bend * (np.cosh(_AT) - 1),
        np.where(_AT > 0, _STEP, _STEP / 2) * (np.cosh(_AT) + 1j * bend * np.sinh(_AT)) / np.pi,
    )
    for bend in _BENDS
]
# Number of factors that are multiplied before a logarithm is taken.
_FACTORS = 32
# More distinct values than this are divided between the nearest of this many.
_MOST_VALUES = 512
# The suggested numbers of examples give this power.
POWER_QUANTILE = float(special.ndtri(0.8))
# Suggesting more examples than this isn't helpful.
_MOST_EXAMPLES = 10**9


def p_value(values: Array, least: Sequence[float], times: float = 1.0) -> float:
    """Return how likely values at least as large are if their mean is zero or below.

    Args:
        values: Independent values, [N].
        least: The smallest possible value; several if there are kinds of values with different ones. Below zero.
        times: How often to count each value, to see what more examples would show.
    """
    points, counts = _reduced(np.asarray(values, np.float64))
    points = np.append(points, least)
    counts = np.append(counts * times, np.ones(len(least)))
    if points.max() <= 0:
        return 1.0
    # The weighted mean is at most zero where a sum of independent gamma variables is.
    if counts @ points < 0:
        return 1 - _below_zero(-points, counts)
    return _below_zero(points, counts)


def _below_zero(points: Array, counts: Array) -> float:
    """The probability that a sum of gamma variables times `points` is below zero, although its mean is not.

    Its cumulant generating function is -sum(counts * log(1 - points * s)).
    """
    worst, deviation = -float(points.min()), float(np.sqrt(counts @ points**2))
    tilt = _saddlepoint(points, counts, -1 / worst, -0.5 / max(deviation, worst))
    scale = float(np.sqrt(counts @ (points / (1 - points * tilt)) ** 2))
    found = []
    for steps, weights in _CONTOURS:
        contour = tilt + steps / scale
        logarithms = _logarithms(points, counts, contour)
        found.append((float(logarithms.real.max()), logarithms, weights / -contour))
    _, logarithms, weights = min(found, key=lambda each: each[0])
    terms = (np.exp(logarithms - logarithms[0].real) * weights).real / scale
    return float(np.clip(np.exp(logarithms[0].real) * terms.sum(), 0.0, 1.0))


def _logarithms(points: Array, counts: Array, contour: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """The cumulant generating function on the contour, up to multiples of 2 pi i for whole counts.

    Most points have a count of one. A logarithm takes ten times as long as a product, and few factors don't overflow.
    """
    single = counts == 1
    logarithms = -(counts[~single] @ np.log1p(-points[~single, None] * contour))
    if single.any():
        factors = 1 - points[single, None] * contour
        products = np.multiply.reduceat(factors, range(0, len(factors), _FACTORS), axis=0)
        logarithms = logarithms - np.log(products).sum(axis=0)
    return logarithms


def _saddlepoint(points: Array, counts: Array, low: float, high: float) -> float:
    """Where the cumulant generating function has its minimum, at most `high`. It has poles at `low` and beyond."""
    weighed = counts * points

    def slope(s: float) -> float:
        return float((weighed / (1 - points * s)).sum())

    low *= 1 - 1e-12
    return high if slope(high) <= 0 else float(optimize.brentq(slope, low, high, xtol=1e-9 * -low, rtol=1e-6))


def _reduced(values: Array) -> tuple[Array, Array]:
    """At most about `_MOST_VALUES` values and the count of each, with the same mean and no smaller spread."""
    points, counts = np.unique(values, return_counts=True)
    if len(points) <= _MOST_VALUES:
        return points, counts.astype(np.float64)
    even = np.linspace(points[0], points[-1], _MOST_VALUES // 4)
    edges = np.unique(np.concatenate([even, np.quantile(values, np.linspace(0, 1, 3 * _MOST_VALUES // 4))]))
    # Each value is divided between the edges around it, in proportion to how close they are.
    left = np.clip(np.searchsorted(edges, points, "right") - 1, 0, len(edges) - 2)
    share = (points - edges[left]) / (edges[left + 1] - edges[left])
    held = np.zeros(len(edges))
    np.add.at(held, left, counts * (1 - share))
    np.add.at(held, left + 1, counts * share)
    return edges[held > 0], held[held > 0]


@dataclass(frozen=True, eq=False)
class BoundedMean:
    """A ratio of sums over units, or its change, against a bound.

    Attributes:
        values: How far each unit is on the right side of the bound, times its denominator; negative beyond it.
        denominators: The units' denominators.
        worst, best: The smallest and the largest value that a unit can have, one or more as for `p_value`.
        examples: The number of examples.
    """

    values: Array
    denominators: Array
    worst: tuple[float, ...]
    best: tuple[float, ...]
    examples: int
    method: Method = "bounded-mean test"

    @functools.cached_property
    def p(self) -> float:
        """See `components.gate.evidence.Evidence`."""
        return p_value(self.values, self.worst) if max(self.worst) < 0 else 0.0

    @functools.cached_property
    def p_of_harm(self) -> float:
        """See `components.gate.evidence.Evidence`."""
        return p_value(-self.values, [-each for each in self.best]) if min(self.best) > 0 else 0.0

    def enough(self, level: float) -> int | None:
        """See `components.gate.evidence.Evidence`."""
        gap = self.values.sum() / self.denominators.sum()
        if gap <= 0:
            return None
        spread = np.sqrt(((self.values - gap * self.denominators) ** 2).sum()) / self.denominators.sum()

        def holds(examples: int) -> bool:
            times = examples / self.examples
            shifted = self.values - POWER_QUANTILE * spread / np.sqrt(times) * self.denominators
            return p_value(shifted, self.worst, times) <= level

        return first_enough(self.examples, holds)


def first_enough(start: float, holds: Callable[[int], bool]) -> int | None:
    """The smallest number of examples from `start` that is enough, within 5 %; None if there is none."""
    if not start < _MOST_EXAMPLES:
        return None
    low, high = 0, max(1, math.ceil(start))
    while not holds(high):
        low, high = high, 2 * high
        if high > _MOST_EXAMPLES:
            return None
    while high - low > max(1, high // 20) and low:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high

"""An exact test of the change of a right-or-wrong metric on paired examples, against a margin.

Of n examples, the candidate loses `lost` that the baseline answers correctly, and gains `gained` that it answers
incorrectly. The test asks whether the true change, (gained - lost) / n in the long run, is above -margin.

It is the unconditional exact test that orders outcomes by Tango's score statistic: its p-value is the largest
probability, over all rates of gains, of a statistic at least as large as the measured one. So its error is at most the
declared one in samples of any size, where the statistic's normal approximation can exceed it.

Papers: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
design", Statistics in Medicine 17:891-908. Hsueh, Liu & Chen 2001, "Unconditional exact tests for equivalence or
noninferiority for paired binary endpoints", Biometrics 57:478-483. Berger & Boos 1994, "P values maximized over a
confidence set for the nuisance parameter", Journal of the American Statistical Association 89:1012-1016.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.float64]

# Rates of gains are searched in a confidence interval with this error, which is added to the p-value.
_OUTSIDE = 1e-6
_RATES = 32
# So many of the highest maxima among them are searched more closely, in steps of a quarter.
_PEAKS = 3
_BETWEEN = np.linspace(-0.75, 0.75, 7)
# Outcomes further from the expectation, in standard deviations, have a negligible probability.
_FAR = 9.0
_NEGLIGIBLE = 1e-13
# Statistics that differ by rounding alone are equal.
_ROUNDING = 1e-9


def score(lost: Any, gained: Any, examples: Any, margin: float) -> Array:
    """Return Tango's score statistic of the change against -margin; larger is better for the candidate.

    Args:
        lost, gained, examples: Counts, as numbers or arrays of one shape.
        margin: From 0 to below 1.
    """
    lost, gained, examples = (np.asarray(each, np.float64) for each in (lost, gained, examples))
    linear = lost * (1 + margin) + gained * (1 - margin) - 2 * examples * margin
    # The most likely rate of gains if the change is -margin.
    rate = (linear + np.sqrt(linear**2 + 8 * examples * gained * margin * (1 - margin))) / (4 * examples)
    variance = examples * (2 * np.maximum(rate, 0.0) + margin * (1 - margin))
    difference = gained - lost + examples * margin
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / np.sqrt(variance))


@functools.lru_cache(maxsize=100_000)
def p_value(lost: int, gained: int, examples: int, margin: float) -> float:
    """Return how likely an outcome at least as good is if the true change is -margin or worse.

    Args:
        lost: Examples that only the baseline answers correctly.
        gained: Examples that only the candidate answers correctly.
        examples: All examples, at least 1.
        margin: The permitted drop, from 0 to below 1.
    """
    return _tail(lost, gained, examples, margin, better=True)


@functools.lru_cache(maxsize=100_000)
def p_value_of_harm(lost: int, gained: int, examples: int, margin: float) -> float:
    """Return the probability of an outcome at least as bad if the true change is at least -margin. See `p_value`."""
    return _tail(lost, gained, examples, margin, better=False)


def _tail(lost: int, gained: int, examples: int, margin: float, better: bool) -> float:
    measured = float(score(lost, gained, examples, margin))
    low = float(special.betaincinv(gained, examples - gained + 1, _OUTSIDE / 2)) if gained else 0.0
    high = float(special.betaincinv(gained + 1, examples - gained, 1 - _OUTSIDE / 2)) if gained < examples else 1.0
    most = (1 - margin) / 2
    low, high = min(low, most), min(high, most)
    gains = _likely(low, high, examples)
    # The most losses that are still as good as the measured outcome, or the fewest that are still as bad, are the same
    # for every rate, because the statistic decreases with each loss.
    edge = _most_losses(gains, examples, margin, measured, at_least=better)
    # Evenly spaced angles, because the probabilities change most where almost no example, or almost every one, flips.
    angles = np.linspace(float(np.arcsin(np.sqrt(low / most))), float(np.arcsin(np.sqrt(high / most))), _RATES)

    def tails(at: Array) -> Array:
        return _probability(most * np.sin(at) ** 2, gains, edge, examples, margin, better)

    found, step = tails(angles), angles[1] - angles[0]
    # The probability can have several maxima, and the highest one on the grid isn't always the highest between its
    # points.
    padded = np.pad(found, 1)
    peaks = np.flatnonzero((found >= padded[:-2]) & (found >= padded[2:]))
    around, greatest = angles[peaks[np.argsort(found[peaks])[-_PEAKS:]]], float(found.max())
    for _ in range(2):
        near = np.clip(around[:, None] + step * _BETWEEN, angles[0], angles[-1])
        values = tails(near.ravel()).reshape(near.shape)
        around, step = near[np.arange(len(near)), values.argmax(axis=1)], step / 4
        greatest = max(greatest, float(values.max()))
    return min(1.0, greatest + _OUTSIDE)


def _likely(low: float, high: float, examples: int) -> Array:
    """The counts of gains that are likely at some rate between low and high."""
    first = examples * low - _FAR * np.sqrt(examples * low) - _FAR
    last = examples * high + _FAR * np.sqrt(examples * high) + _FAR**2
    return np.arange(max(0, int(first)), min(examples, int(last)) + 1, dtype=np.float64)


def _most_losses(gains: Array, examples: int, margin: float, measured: float, at_least: bool) -> Array:
    """For each number of gains, the most losses with a statistic of at least (or above) the measured one; or -1."""
    low, high = np.full_like(gains, -1.0), examples - gains
    slack = _ROUNDING * max(1.0, abs(measured))
    limit = measured - slack if at_least else measured + slack
    while (low < high).any():
        middle = np.ceil((low + high) / 2)
        good = score(np.maximum(middle, 0), gains, examples, margin) >= limit
        low, high = np.where(good, middle, low), np.where(good, high, middle - 1)
    return low


def _probability(rates: Array, gains: Array, losses: Array, examples: int, margin: float, better: bool) -> Array:
    """The probability, at each rate of gains, of at most so many losses; or of more, unless `better`."""
    rate = np.clip(rates[:, None], 0.0, 1.0)
    counts = special.gammaln(examples + 1) - special.gammaln(gains + 1) - special.gammaln(examples - gains + 1)
    of_gains = np.exp(counts + special.xlogy(gains, rate) + special.xlog1py(examples - gains, -rate))
    rest, loss = examples - gains, np.minimum((rate + margin) / np.maximum(1 - rate, 1e-300), 1.0)
    more = np.where(losses < 0, 1.0, np.zeros_like(of_gains))
    # The incomplete beta function gives the binomial distribution, but it is slow, so it is computed only where it
    # matters.
    row, column = np.nonzero((of_gains > _NEGLIGIBLE) & (losses >= 0) & (losses < rest))
    more[row, column] = special.betainc(losses[column] + 1, (rest - losses)[column], loss[row, 0])
    return (of_gains * (1 - more if better else more)).sum(axis=1)

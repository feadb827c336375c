"""A one-pass histogram of a tensor's values with bounded memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# 512 KiB per tensor. With one outlier 100 times above all other values, these still have more than 300 bins.
BINS = 1 << 16
# Bins are at least 2**-17 of the largest magnitude wide, which also bounds the number of magnitude bins.
_FINEST = 17


class ActivationHistogram:
    """Counts of values in bins of equal width, which is a power of two.

    Bins start at integer multiples of their width. If a value is out of range, the width doubles and neighbors merge
    exactly, so the counts depend only on the values, not on their order or batches. Zero is always a bin edge.

    Attributes:
        minimum, maximum: Exact extremes of all finite values.
        zeros: Number of values that are exactly zero.
    """

    def __init__(self) -> None:
        self.minimum, self.maximum, self.zeros = math.inf, -math.inf, 0
        self._exponent = -(1 << 14)
        self._first = 0
        self._counts: Array = np.zeros(0, np.int64)

    def add(self, values: Array) -> None:
        """Count values. Values that are not finite are ignored, because no range can include them."""
        values = np.asarray(values, np.float64).ravel()
        values = values[np.isfinite(values)]
        if not values.size:
            return
        self.zeros += int(np.count_nonzero(values == 0))
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))
        self._widen(max(self._exponent, _exponent(self.minimum, self.maximum)))
        places = self._places(values) - self._first
        if places.size * 8 < self._counts.size:
            np.add.at(self._counts, places, 1)
        else:
            self._counts += np.bincount(places, minlength=self._counts.size)

    @property
    def total(self) -> int:
        """Number of finite values counted."""
        return int(self._counts.sum())

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self._exponent)

    def centers(self) -> Array:
        """The center of each bin, clipped to the exact range."""
        middles = (self._first + np.arange(self._counts.size) + 0.5) * self.width
        return np.clip(middles, self.minimum, self.maximum)

    def counts(self) -> Array:
        """Number of values in each bin, including exact zeros."""
        return self._counts.copy()

    def nonzero_counts(self) -> Array:
        """Number of values in each bin without exact zeros, which quantization preserves."""
        counts = self._counts.copy()
        if self.zeros:
            counts[-self._first] -= self.zeros
        return counts

    def magnitudes(self) -> Array:
        """Counts of nonzero absolute values, in bins of the same width that start at zero."""
        counts, places = self.nonzero_counts(), self._first + np.arange(self._counts.size)
        return np.bincount(np.where(places < 0, -places - 1, places), weights=counts).astype(np.int64)

    def quantile(self, fraction: float) -> float:
        """The quantile of all values, accurate to the width of a bin."""
        cumulative = np.concatenate([[0], np.cumsum(self._counts)])
        edges = (self._first + np.arange(cumulative.size)) * self.width
        value = float(np.interp(fraction * cumulative[-1], cumulative, edges))
        return min(max(value, self.minimum), self.maximum)

    def coarse(self, bins: int) -> tuple[int, ...]:
        """Counts in a few bins of equal width over the exact range, for plots."""
        if not self.maximum > self.minimum:
            return (self.total,)
        counts, _ = np.histogram(self.centers(), bins, (self.minimum, self.maximum), weights=self._counts)
        return tuple(int(count) for count in counts)

    def _places(self, values: Array) -> Array:
        return np.floor(np.ldexp(values, -self._exponent)).astype(np.int64)

    def _widen(self, exponent: int) -> None:
        shift = min(62, exponent - self._exponent)
        if shift and self._counts.size:
            places = (self._first + np.arange(self._counts.size)) >> shift
            self._first = int(places[0])
            self._counts = np.bincount(places - self._first, weights=self._counts).astype(np.int64)
        self._exponent = exponent
        first, last = self._places(np.array([self.minimum, self.maximum])).tolist()
        if not self._counts.size:
            self._first = first
        before = self._first - first
        after = last + 1 - self._first - self._counts.size
        self._first, self._counts = first, np.pad(self._counts, (before, after))


def _exponent(low: float, high: float) -> int:
    """The smallest exponent of 2 whose power, as bin width, divides a range into at most `BINS` bins."""
    largest = max(abs(low), abs(high))
    if largest == 0:
        return -(1 << 10)
    # The smallest double is 2**-1074.
    exponent = max(-1000, math.frexp(largest)[1] - _FINEST)
    if high > low:
        exponent = max(exponent, math.frexp((high - low) / BINS)[1] - 2)
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
        exponent += 1
    return exponent

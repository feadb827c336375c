"""Adds up what independent units, which are examples or groups of examples, contribute to the metrics of a slice.

Memory is bounded: if there are many units, they are combined at random. The sum of several independent
units is as independent of the rest as each unit is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.facts.sample import Sample, packed

Array = npt.NDArray[Any]

# Extracts key of the number of an example's unit, which depends only on its bytes, or on its group. Below 2**32.
UNIT_KEY = "unit"
# Extracts key of float64 [N, columns]: what an example adds, as in `Terms`.
TERMS_KEY = "unit_terms"
# More units than the first number are combined into the second.
MOST_UNITS, FOLDED_UNITS = 1 << 14, 1 << 12
_WAITING_BATCHES = 2048
# A value in single precision can be this far outside the range, as a share of the range.
_ROUNDING = 1e-5


class Units:
    """Sums by unit. Which units are combined doesn't depend on the order in which they are added.

    Attributes:
        keys: Numbers of the units in ascending order, int64 [U].
        sums: Their sums, float64 [U, columns].
        folded: Whether units were combined.
    """

    def __init__(self) -> None:
        self.keys, self.sums, self.folded = np.zeros(0, np.int64), np.zeros((0, 0)), False
        self._waiting: list[tuple[Array, Array]] = []
        self._rows = 0

    def add(self, keys: Array, rows: Array) -> None:
        """Add rows [N, columns] of the units `keys` [N]. The arrays must not change later."""
        self._waiting.append((keys, rows))
        self._rows += len(keys)
        if self._rows > MOST_UNITS or len(self._waiting) > _WAITING_BATCHES:
            self.settle()

    def merge(self, other: Units) -> None:
        """Add the sums of another object, which doesn't change."""
        self.folded |= other.folded
        for keys, rows in ((other.keys, other.sums), *other._waiting):
            if len(keys):
                self.add(keys, rows)

    def settle(self) -> Units:
        """Add up everything so far, and return the object."""
        if self._waiting:
            parts = [(self.keys, self.sums)] * bool(len(self.keys)) + self._waiting
            keys = np.concatenate([keys for keys, _ in parts]).astype(np.int64)
            rows = np.concatenate([rows for _, rows in parts])
            if self.folded:
                keys %= FOLDED_UNITS
            found, places = np.unique(keys, return_inverse=True)
            if len(found) > MOST_UNITS:
                self.folded = True
                found, places = np.unique(keys % FOLDED_UNITS, return_inverse=True)
            self.keys, self.sums = found, np.zeros((len(found), rows.shape[1]))
            for column, values in enumerate(rows.T):
                self.sums[:, column] = np.bincount(places, values, len(found))
            self._waiting, self._rows = [], 0
        return self


class Terms(NamedTuple):
    """The columns of `TERMS_KEY`: for each metric, a numerator for each model, then the denominators.

    Attributes:
        models: The models, the baseline first.
        means: Metrics that are means over examples. They share one denominator, the weight, in their last column.
        ratios: Other metrics that are ratios of sums. After their numerators comes a denominator for each model.
        ranges: Metric -> the smallest and the largest value that an example can have. Other metrics have no sample.
    """

    models: tuple[str, ...]
    means: tuple[str, ...]
    ratios: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]

    def of(self, means: Array, ratios: Sequence[Sequence[Array]]) -> Array:
        """The columns of N examples.

        Args:
            means: Values of the means times the weight, by metric, then by model, and then the weight, [N, columns].
            ratios: For each metric and model, numerator and denominator [N, 2 or more].
        """
        columns = [each[:, number] for metric in ratios for number in (0, 1) for each in metric]
        return np.column_stack([means, *columns]) if columns else means

    def samples(self, units: Units) -> Iterator[tuple[str, str, Sample]]:
        """Yield model, metric, and sample."""
        sums, models = units.settle().sums, len(self.models)
        if not len(sums):
            return
        weight = len(self.means) * models
        # Metric, and the columns of the first numerator and the first denominator.
        places = [(metric, number * models, weight) for number, metric in enumerate(self.means)]
        ratios = (weight + 1 + 2 * number * models for number in range(len(self.ratios)))
        places += [(metric, first, first + models) for metric, first in zip(self.ratios, ratios, strict=True)]
        for metric, first, divided in places:
            for number, model in enumerate(self.models if metric in self.ranges else ()):
                denominators = sums[:, divided if divided == weight else divided + number]
                yield model, metric, sample(sums[:, first + number], denominators, *self.ranges[metric])


def sample(
    numerators: Array, denominators: Array, least: float, greatest: float, largest: Sequence[float] = ()
) -> Sample:
    """The sample of units with these numerators and denominators [U]. By default, `largest` is their maximum."""
    slack = _ROUNDING * (greatest - least) * denominators
    outside = (numerators < least * denominators - slack) | (numerators > greatest * denominators + slack)
    return Sample(
        numerators=packed(numerators),
        denominators=packed(denominators),
        least=least,
        greatest=greatest,
        largest=tuple(largest) or (float(denominators.max()),),
        outside=int(outside.sum()),
    )

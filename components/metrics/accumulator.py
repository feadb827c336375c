"""Metrics that are not means over examples: what they store for each example, and how they combine that.

An evaluation computes a metric for every slice and, for its interval, without each jackknife bucket. Therefore, a
metric defines what to store for one example, and how to combine that. The model's outputs are read once.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Values of a batch by name of an output or a feature, each [N, ...] with the same N.
Arrays = Mapping[str, Array]


@runtime_checkable
class Accumulator(Protocol):
    """A metric as users can write it. Edgemill creates one object and never copies its state between examples.

    `add` can have a fourth parameter `features`, which gets the features that the pipeline file names. If the task
    weights examples, `add` needs a parameter `weights`, which gets their weights [N], or ones if the task doesn't.
    """

    def create(self) -> Any:
        """Return an empty accumulator. It must be picklable."""
        ...

    def add(self, accumulator: Any, predictions: Arrays, targets: Arrays) -> Any:
        """Return the accumulator with more examples.

        Args:
            accumulator: From `create`, `add`, or `merge`. It may be changed and returned.
            predictions: Output name -> values [N, ...].
            targets: Output name -> values [N, ...].
        """
        ...

    def merge(self, accumulator: Any, other: Any) -> Any:
        """Return the two accumulators combined. The first may be changed and returned, but not the second."""
        ...

    def result(self, accumulator: Any) -> float:
        """Return the metric; NaN if these examples have none. It must not change the accumulator."""
        ...


class RatioOfSums(abc.ABC):
    """A metric that is a function of sums over examples, such as all errors divided by all words."""

    @abc.abstractmethod
    def sums(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Array:
        """Return the contribution of each example to the sums, float64 [N, K]."""

    def ratio(self, sums: Array) -> float:
        """Return the metric for sums [K]; NaN if it is undefined. By default, the first sum divided by the second."""
        return float(sums[0] / sums[1]) if sums[1] else float("nan")

    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Sequence[Any]:
        """Return an accumulator for each example.

        Raises:
            ValueError: `sums` returned something else.
        """
        values = np.asarray(self.sums(predictions, targets, features))
        count = len(next(iter(predictions.values())))
        if values.shape[:-1] != (count,) or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            found = f"{values.dtype} {list(values.shape)}" if values.shape[:-1] != (count,) else "numbers not finite"
            raise ValueError(f"sums() must return finite numbers [{count}, K], not {found}")
        return list(values.astype(np.float64))

    def create(self) -> Array:
        """Return an empty accumulator."""
        return np.zeros(0)

    def add(self, accumulator: Array, predictions: Arrays, targets: Arrays, features: Arrays | None = None) -> Array:
        """Return the sums with more examples."""
        return self.merge(accumulator, self.sums(predictions, targets, features or {}).sum(axis=0))

    def merge(self, accumulator: Array, other: Array) -> Array:
        """Return the sums of both accumulators."""
        if not accumulator.size or not other.size:
            return other if other.size else accumulator
        return accumulator + other

    def result(self, accumulator: Array) -> float:
        """Return the metric; NaN without examples."""
        return self.ratio(accumulator) if accumulator.size else float("nan")


class KeptExamples(abc.ABC):
    """A metric that compares examples with each other, and therefore stores something for each.

    Attributes:
        influence: By which factor one example can change the metric more than tests of bounds assume without knowing
            the metric: ten times as much as one example changes a mean.
    """

    influence: float = 1.0

    @abc.abstractmethod
    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays) -> list[Any]:
        """Return what to store: for each of the N examples, a list of named tuples with a field `weight`."""

    @abc.abstractmethod
    def result(self, accumulator: list[Any]) -> float:
        """Return the metric; NaN without examples."""

    def create(self) -> list[Any]:
        """Return an empty accumulator."""
        return []

    def add(
        self, accumulator: list[Any], predictions: Arrays, targets: Arrays, features: Arrays | None = None
    ) -> list[Any]:
        """Return the accumulator with more examples."""
        for kept in self.examples(predictions, targets, features or {}):
            accumulator.extend(kept)
        return accumulator

    def merge(self, accumulator: list[Any], other: list[Any]) -> list[Any]:
        """Return the two accumulators combined."""
        accumulator.extend(other)
        return accumulator

"""Metrics that users write, a function or an accumulator, in the form that the evaluation calls."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import SpecError
from components.metrics.accumulator import Accumulator, Arrays, RatioOfSums
from components.spec.metric import MetricSpec

Array = npt.NDArray[Any]
# The field of the pipeline file that errors name.
WHERE = "evaluate.metrics"


class OfFunction(RatioOfSums):
    """The mean of the values that a user's function returns for the examples."""

    def __init__(self, metric: MetricSpec, function: Callable[..., Any]) -> None:
        self._metric, self._function = metric, function

    def sums(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Array:
        """Return the value of each example, and 1."""
        count = len(next(iter(predictions.values())))
        further = [features] if self._metric.features else []
        returned = self._function(predictions, targets, *further)
        values = np.asarray(returned)
        if values.shape not in {(count,), (count, 1)} or values.dtype.kind not in "biuf":
            raise self._wrong("does not return one number per example", count, f"{_kind(returned)}")
        values = values.reshape(count).astype(np.float64)
        if not np.isfinite(values).all():
            wrong = np.flatnonzero(~np.isfinite(values))
            raise self._wrong(
                f"returns {values[wrong[0]]} for {len(wrong)} of {count} examples",
                count,
                f"{values[wrong[0]]} for example {wrong[0]} of a batch",
            )
        return np.stack([values, np.ones(count)], axis=1)

    def _wrong(self, what: str, count: int, measured: str) -> SpecError:
        return SpecError(
            f"the metric {self._metric.name!r} ({self._metric.function}) {what}",
            where=WHERE,
            bound=f"an array of finite numbers [{count}], one per example",
            measured=measured,
            remedy="return a number for each example, without the mean; for a ratio of sums, write an accumulator",
        )


def _kind(value: Any) -> str:
    if isinstance(value, numbers.Number | str | bytes | None):
        # NumPy 2 repeats the type in a scalar's representation.
        plain = value.item() if isinstance(value, np.generic) else value
        return f"{type(value).__name__} {plain!r}"[:80]
    values = np.asarray(value)
    return f"{type(value).__name__} of shape {list(values.shape)} and type {values.dtype}"


class OfAccumulator:
    """A user's accumulator, which gets one example at a time.

    Attributes:
        takes_weights: Whether its `add` has the parameter `weights`.
    """

    def __init__(self, metric: MetricSpec, accumulator: Accumulator) -> None:
        self._has_features, self._of = bool(metric.features), accumulator
        self.takes_weights = "weights" in inspect.signature(accumulator.add).parameters
        self.create, self.merge, self.result = accumulator.create, accumulator.merge, accumulator.result

    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays, weights: Array | None) -> list[Any]:
        """Return an accumulator for each example."""
        count = len(next(iter(predictions.values())))
        given = np.ones(count) if weights is None else weights.astype(np.float64)
        add: Callable[..., Any] = self._of.add
        batches = (predictions, targets, features) if self._has_features else (predictions, targets)

        def rows(start: int) -> list[dict[str, Array]]:
            return [{name: values[start : start + 1] for name, values in named.items()} for named in batches]

        def weight(start: int) -> dict[str, Array]:
            return {"weights": given[start : start + 1]} if self.takes_weights else {}

        return [add(self._of.create(), *rows(start), **weight(start)) for start in range(count)]

"""Metrics that are functions of predictions and targets: the ready-made ones, and the user's."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from components.core.errors import EdgemillError, SpecError, summary_line
from components.core.user_code import exits_reported, raised_at
from components.data.objects import load_object
from components.metrics.accumulator import Accumulator, Arrays, KeptExamples, RatioOfSums
from components.metrics.own import WHERE, OfAccumulator, OfFunction
from components.metrics.ready_made.classes import F1, MeanIoU, Precision, Recall, StepAccuracy
from components.metrics.ready_made.detection import MeanAveragePrecision
from components.metrics.ready_made.embeddings import CosineSimilarity, RecallAtK
from components.metrics.ready_made.transcripts import CharacterErrorRate, WordErrorRate
from components.metrics.ready_made.values import AnomalyAUC, KeypointError
from components.spec.metric import MetricSpec

Array = npt.NDArray[Any]
_METHODS = ("create", "add", "merge", "result")

CLASSES: dict[str, type[RatioOfSums] | type[KeptExamples]] = {
    "step_accuracy": StepAccuracy,
    "mean_iou": MeanIoU,
    "precision": Precision,
    "recall": Recall,
    "f1": F1,
    "coco_map": MeanAveragePrecision,
    "word_error_rate": WordErrorRate,
    "character_error_rate": CharacterErrorRate,
    "anomaly_auc": AnomalyAUC,
    "cosine_similarity": CosineSimilarity,
    "recall_at_k": RecallAtK,
    "keypoint_error": KeypointError,
}


class Computed(Protocol):
    """The interface that the evaluation calls. An accumulator of one example is not changed once it exists.

    Attributes:
        weighable: Whether the metric can weight examples.
        is_ratio: Whether it is the first sum divided by the second sum of the values that `examples` returns.
        influence: As for `components.metrics.accumulator.KeptExamples`.
    """

    weighable: bool
    is_ratio: bool
    influence: float

    def examples(
        self, predictions: Arrays, targets: Arrays, features: Arrays, weights: Array | None = None
    ) -> Sequence[Any]:
        """Return an accumulator for each of N examples, from values [N, ...] by output and by feature.

        The weights [N] are None if all examples count the same.
        """
        ...

    def create(self) -> Any:
        """Return an empty accumulator."""
        ...

    def merge(self, accumulator: Any, other: Any) -> Any:
        """Return the two accumulators combined. The first may be changed and returned."""
        ...

    def result(self, accumulator: Any) -> float:
        """Return the metric; NaN if it is undefined."""
        ...


def load_metric(metric: MetricSpec) -> Computed:
    """Load a metric that is a function.

    Raises:
        SpecError: It can't be imported, isn't a function or an accumulator, or doesn't accept its config.
    """
    if metric.function in CLASSES:
        with _named(metric, "its config"):
            made: Any = CLASSES[metric.function](**metric.config)
        return _Guarded(metric, made)
    try:
        found = load_object(metric.function, "metric")
    except SpecError as error:
        raise error.placed(WHERE) from error
    if isinstance(found, type):
        with _named(metric, "its config"):
            found = found(**metric.config)
    elif callable(found) and metric.config:
        with _named(metric, "its config"):
            inspect.signature(found).bind(None, None, *([None] if metric.features else []), **metric.config)
        found = functools.partial(found, **metric.config)
    if isinstance(found, RatioOfSums):
        return _Guarded(metric, found)
    if isinstance(found, Accumulator):
        return _Guarded(metric, OfAccumulator(metric, found))
    if callable(found):
        return _Guarded(metric, OfFunction(metric, found))
    missing = [name for name in _METHODS if not callable(getattr(found, name, None))]
    raise SpecError(
        f"the metric {metric.name!r} is neither a function nor an accumulator: it lacks {', '.join(missing)}",
        where=WHERE,
        bound="a function of predictions and targets, or a class with create, add, merge, and result",
        measured=f"{metric.function}: {type(found).__name__}",
        remedy="specify such a function or class",
    )


def not_weighable(metric: MetricSpec) -> SpecError:
    """The error for a metric that would count every example once although the task weights examples."""
    return SpecError(
        f"the task weights examples, but the metric {metric.name!r} ({metric.function}) counts every example once",
        where=WHERE,
        bound="add() with a parameter `weights`, an array [N]",
        measured="add() without it",
        remedy="add `weights` to the parameters of add() and multiply each example's contribution by it, or subclass "
        "RatioOfSums",
    )


def only_of(named: Arrays, output: str | None) -> Arrays:
    """The values of the output that a metric names, empty if there are none; all values if it names no output."""
    return named if output is None else {name: values for name, values in named.items() if name == output}


@contextmanager
def _named(metric: MetricSpec, what: str) -> Iterator[None]:
    """Raise errors in the block with the name of the metric and its function."""
    try:
        with exits_reported(WHERE):
            yield
    except EdgemillError as error:
        if metric.name in error.what:
            raise
        raise type(error)(
            f"the metric {metric.name!r} ({metric.function}): {error.what}",
            where=error.where,
            bound=error.bound,
            measured=error.measured,
            remedy=error.remedy,
        ) from error
    except Exception as error:
        raise SpecError(
            f"the metric {metric.name!r} ({metric.function}) fails with {what}: "
            f"{type(error).__name__}: {summary_line(error)}",
            where=WHERE,
            bound="keyword arguments of the function in `config`" if what == "its config" else _expected(metric),
            measured=raised_at(error),
            remedy="correct `config`" if what == "its config" else "call it on one batch and fix it",
        ) from error


def _expected(metric: MetricSpec) -> str:
    features = ", and features, name -> array [N, ...]" if metric.features else ""
    return f"code for predictions and targets, output name -> array [N, ...]{features}"


class _Guarded:
    """A metric whose errors name it."""

    def __init__(self, metric: MetricSpec, computed: Any) -> None:
        self._metric, self._computed = metric, computed
        self.weighable = not isinstance(computed, OfAccumulator) or computed.takes_weights
        self.is_ratio = isinstance(computed, RatioOfSums) and type(computed).ratio is RatioOfSums.ratio
        self.influence = computed.influence if isinstance(computed, KeptExamples) else 1.0

    def examples(
        self, predictions: Arrays, targets: Arrays, features: Arrays, weights: Array | None = None
    ) -> Sequence[Any]:
        shapes = ", ".join(f"{name or 'output'} {list(np.shape(values))}" for name, values in predictions.items())
        if weights is not None and not self.weighable:
            raise not_weighable(self._metric)
        with _named(self._metric, f"predictions {shapes}"):
            found, wanted, read = (_read_only(each) for each in (predictions, targets, features))
            if isinstance(self._computed, OfAccumulator):
                return self._computed.examples(found, wanted, read, weights)
            kept: Sequence[Any] = self._computed.examples(found, wanted, read)
        if weights is None:
            return kept
        exact = weights.astype(np.float64).tolist()
        if isinstance(self._computed, RatioOfSums):
            return [weight * sums for weight, sums in zip(exact, kept, strict=True)]
        return [[one._replace(weight=weight) for one in each] for weight, each in zip(exact, kept, strict=True)]

    def create(self) -> Any:
        with _named(self._metric, "create()"):
            return self._computed.create()

    def merge(self, accumulator: Any, other: Any) -> Any:
        with _named(self._metric, "merge()"):
            return self._computed.merge(accumulator, other)

    def result(self, accumulator: Any) -> float:
        with _named(self._metric, "result()"):
            value = self._computed.result(accumulator)
        if isinstance(value, numbers.Real) or (isinstance(value, np.ndarray) and value.size == 1):
            return float(value)
        raise SpecError(
            f"the metric {self._metric.name!r} ({self._metric.function}) does not return a number",
            where=WHERE,
            bound="a number from result(); NaN if the examples have none",
            measured=repr(value)[:80],
            remedy="return a float",
        )


def _read_only(named: Arrays) -> dict[str, Array]:
    """The same values, protected so that one metric can't change them for the others."""
    views = {name: np.asarray(values).view() for name, values in named.items()}
    for each in views.values():
        each.setflags(write=False)
    return views


def total(computed: Computed, kept: Sequence[Any]) -> float:
    """The metric of some examples.

    Args:
        computed: The metric.
        kept: Accumulators from `examples`.
    """
    merged = computed.create()
    for each in kept:
        merged = computed.merge(merged, each)
    return computed.result(merged)


def check_function(
    metric: MetricSpec, predictions: Arrays, targets: Arrays, features: Arrays, weights: Array | None = None
) -> None:
    """Compute a metric on a few examples, and check that an accumulator does what `Accumulator` requires.

    Args:
        metric: A metric with a function.
        predictions, targets: Output name -> values [N, ...].
        features: The features that the metric reads, [N, ...].
        weights: Weights of the examples [N]; None if all have the same weight.

    Raises:
        SpecError: It can't be loaded or computed, doesn't accept weights, or merging examples changes them.
        DataError: A target or a prediction is out of range.
    """
    computed = load_metric(metric)
    kept = computed.examples(predictions, targets, features, weights)
    first, again = total(computed, kept), total(computed, kept)
    if not (first == again or math.isclose(first, again, rel_tol=1e-9) or (math.isnan(first) and math.isnan(again))):
        raise SpecError(
            f"the metric {metric.name!r} ({metric.function}) has a different value when the same examples are merged "
            "again",
            where=WHERE,
            bound=f"{first:g}",
            measured=f"{again:g}",
            remedy="do not change the second argument of merge() or the argument of result()",
        )

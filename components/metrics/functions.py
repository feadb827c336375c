"""Metrics that are functions of predictions and targets: the ready-made ones, and the user's."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from components.core.errors import EdgemillError, SpecError, summary_line
from components.core.user_code import exits_reported, raised_at
from components.data.task import load_object
from components.metrics.accumulator import Accumulator, Arrays, KeptExamples, RatioOfSums
from components.metrics.ready_made.classes import MeanIoU, StepAccuracy
from components.metrics.ready_made.detection import MeanAveragePrecision
from components.metrics.ready_made.embeddings import CosineSimilarity, RecallAtK
from components.metrics.ready_made.transcripts import CharacterErrorRate, WordErrorRate
from components.metrics.ready_made.values import AnomalyAUC, KeypointError
from components.spec.metric import MetricSpec

Array = npt.NDArray[Any]
_WHERE = "evaluate.metrics"
_METHODS = ("create", "add", "merge", "result")

CLASSES: dict[str, type[RatioOfSums] | type[KeptExamples]] = {
    "step_accuracy": StepAccuracy,
    "mean_iou": MeanIoU,
    "coco_map": MeanAveragePrecision,
    "word_error_rate": WordErrorRate,
    "character_error_rate": CharacterErrorRate,
    "anomaly_auc": AnomalyAUC,
    "cosine_similarity": CosineSimilarity,
    "recall_at_k": RecallAtK,
    "keypoint_error": KeypointError,
}


class Computed(Protocol):
    """What the evaluation calls. An accumulator of one example is not changed once it exists.

    Attributes:
        weighable: Whether accumulators are sums, so that the weight of an example can multiply its own.
    """

    weighable: bool

    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Sequence[Any]:
        """Return an accumulator for each of N examples, from values [N, ...] by output and by feature."""
        ...

    def create(self) -> Any:
        """Return an empty accumulator."""
        ...

    def merge(self, accumulator: Any, other: Any) -> Any:
        """Return both together. The first may be changed and returned."""
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
        raise error.placed(_WHERE) from error
    if isinstance(found, type):
        with _named(metric, "its config"):
            found = found(**metric.config)
    elif callable(found) and metric.config:
        with _named(metric, "its config"):
            inspect.signature(found).bind(None, None, *([None] if metric.features else []), **metric.config)
        found = functools.partial(found, **metric.config)
    if isinstance(found, RatioOfSums | KeptExamples):
        return _Guarded(metric, found)
    if isinstance(found, Accumulator):
        return _Guarded(metric, _OfAccumulator(metric, found))
    if callable(found):
        return _Guarded(metric, _OfFunction(metric, found))
    missing = [name for name in _METHODS if not callable(getattr(found, name, None))]
    raise SpecError(
        f"the metric {metric.name!r} is neither a function nor an accumulator: it lacks {', '.join(missing)}",
        where=_WHERE,
        bound="a function of predictions and targets, or a class with create, add, merge, and result",
        measured=f"{metric.function}: {type(found).__name__}",
        remedy="name such a function or class",
    )


def only_of(named: Arrays, output: str | None) -> Arrays:
    """The values of a metric's output, without any if they have none; all if the metric names no output."""
    return named if output is None else {name: values for name, values in named.items() if name == output}


@contextmanager
def _named(metric: MetricSpec, what: str) -> Iterator[None]:
    """Raise errors in the block with the name of the metric and its function."""
    try:
        with exits_reported(_WHERE):
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
            where=_WHERE,
            bound="keyword arguments of the function in `config`" if what == "its config" else _expected(metric),
            measured=raised_at(error),
            remedy="correct `config`" if what == "its config" else "call it on one batch and correct it",
        ) from error


def _expected(metric: MetricSpec) -> str:
    features = ", and features, name -> array [N, ...]" if metric.features else ""
    return f"code for predictions and targets, output name -> array [N, ...]{features}"


class _Guarded:
    """A metric whose errors name it."""

    def __init__(self, metric: MetricSpec, computed: Any) -> None:
        self._metric, self._computed = metric, computed
        self.weighable = isinstance(computed, RatioOfSums)

    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Sequence[Any]:
        shapes = ", ".join(f"{name or 'output'} {list(np.shape(values))}" for name, values in predictions.items())
        with _named(self._metric, f"predictions {shapes}"):
            return self._computed.examples(*(_read_only(each) for each in (predictions, targets, features)))

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
            where=_WHERE,
            bound="a number from result(); NaN if the examples have none",
            measured=repr(value)[:80],
            remedy="return a float",
        )


def _read_only(named: Arrays) -> dict[str, Array]:
    """The same values, which one metric can't change for the others."""
    views = {name: np.asarray(values).view() for name, values in named.items()}
    for each in views.values():
        each.setflags(write=False)
    return views


class _OfFunction(RatioOfSums):
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
            where=_WHERE,
            bound=f"an array of finite numbers [{count}], one per example",
            measured=measured,
            remedy="return a number for each example, without the mean; for a ratio of sums, write an accumulator",
        )


def _kind(value: Any) -> str:
    if isinstance(value, numbers.Number | str | bytes | None):
        # NumPy 2 repeats the type in the text of a scalar.
        plain = value.item() if isinstance(value, np.generic) else value
        return f"{type(value).__name__} {plain!r}"[:80]
    values = np.asarray(value)
    return f"{type(value).__name__} of shape {list(values.shape)} and type {values.dtype}"


class _OfAccumulator:
    """A user's accumulator, which gets one example at a time."""

    def __init__(self, metric: MetricSpec, accumulator: Accumulator) -> None:
        self._has_features, self._of = bool(metric.features), accumulator
        self.create, self.merge, self.result = accumulator.create, accumulator.merge, accumulator.result

    def examples(self, predictions: Arrays, targets: Arrays, features: Arrays) -> list[Any]:
        """Return an accumulator for each example."""
        count = len(next(iter(predictions.values())))
        add: Callable[..., Any] = self._of.add
        batches = (predictions, targets, features) if self._has_features else (predictions, targets)

        def rows(start: int) -> list[dict[str, Array]]:
            return [{name: values[start : start + 1] for name, values in named.items()} for named in batches]

        return [add(self._of.create(), *rows(start)) for start in range(count)]


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


def check_function(metric: MetricSpec, predictions: Arrays, targets: Arrays, features: Arrays) -> None:
    """Compute a metric on a few examples, and check that an accumulator keeps what `Accumulator` promises.

    Args:
        metric: A metric with a function.
        predictions, targets: Output name -> values [N, ...].
        features: The features that it reads, [N, ...].

    Raises:
        SpecError: It can't be loaded or computed, or merging examples changes them.
        DataError: A target or a prediction is out of range.
    """
    computed = load_metric(metric)
    kept = computed.examples(predictions, targets, features)
    first, again = total(computed, kept), total(computed, kept)
    if not (first == again or math.isclose(first, again, rel_tol=1e-9) or (math.isnan(first) and math.isnan(again))):
        raise SpecError(
            f"the metric {metric.name!r} ({metric.function}) has another value when the same examples are merged again",
            where=_WHERE,
            bound=f"{first:g}",
            measured=f"{again:g}",
            remedy="do not change the second argument of merge(), nor the argument of result()",
        )

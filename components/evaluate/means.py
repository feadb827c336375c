"""Computes metrics that are means over examples: the value per example is computed once per batch, before slicing.

TFMA would call the Keras metric for every slice, jackknife bucket, and model: 1320 times for 6 models on 11 slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_model_analysis as tfma
import tf_keras
from tensorflow_model_analysis.metrics import metric_types

from components.core.errors import SpecError, counted
from components.evaluate.function_metric import FUNCTIONS_KEY
from components.evaluate.outputs.units import TERMS_KEY, Terms
from components.metrics.class_labels import check_classes, one_hot
from components.spec.metric import MetricSpec
from components.upstream.autograph import do_not_convert
from components.upstream.keras import wrapped_function

Array = npt.NDArray[Any]
Extracts = dict[str, Any]

# Extracts key of float64 [N, columns]: the values per example times its weight, ordered by metric, then by model; then
# `flip_columns`; then the weight itself.
MEANS_KEY = "mean_values"
# Classes of TFMA with the same name and the same values as Keras's -> the arguments that both take. TFMA computes them
# from sums over all examples, which don't contain the values of single examples.
_SAME_IN_TFMA = {
    "BinaryAccuracy": {"threshold"},
    **dict.fromkeys(("MeanAbsoluteError", "MeanSquaredError", "MeanAbsolutePercentageError"), frozenset[str]()),
    "MeanSquaredLogarithmicError": frozenset[str](),
}


def mean_metrics(metrics: Sequence[MetricSpec]) -> tuple[MetricSpec, ...]:
    """Return the metrics that Keras defines as a mean over examples, unless TFMA has its own of the same name."""
    return tuple(
        metric
        for metric in metrics
        if _is_of_keras(metric)
        and isinstance(kind := getattr(tf_keras.metrics, metric.class_name, None), type)
        and issubclass(kind, tf_keras.metrics.MeanMetricWrapper)
    )


def _is_of_keras(metric: MetricSpec) -> bool:
    if metric.class_name in _SAME_IN_TFMA:
        return metric.config.keys() <= _SAME_IN_TFMA[metric.class_name]
    return not metric_types.is_registered_metric(metric.class_name)


def is_of_user(class_name: str) -> bool:
    """Whether a metric class belongs to neither TFMA nor Keras."""
    return not (metric_types.is_registered_metric(class_name) or hasattr(tf_keras.metrics, class_name))


def registered_name(class_name: str) -> str:
    """The name by which Keras knows a metric class: `package>Name` for a class that user code registered.

    Args:
        class_name: The class's name, with or without the package.
    """
    if not is_of_user(class_name):
        return class_name
    found = [name for name in tf_keras.utils.get_custom_objects() if name.rpartition(">")[2] == class_name]
    return found[0] if len(found) == 1 else class_name


def per_example(metric: MetricSpec) -> Callable[[Array, Array], Array]:
    """Return a function from labels and predictions [N, ...] to float64 values [N], the mean of which is the metric."""
    wrapped = wrapped_function(getattr(tf_keras.metrics, metric.class_name)(**metric.config))

    @do_not_convert
    def values(labels: Array, predictions: Array) -> Array:
        labels, predictions = compared(metric, labels, predictions)
        # As MeanMetricWrapper.update_state does before it takes the mean.
        result = wrapped(tf.cast(labels, tf.float32), tf.cast(predictions, tf.float32))
        # If examples have several values (sequences), all have the same number.
        return np.asarray(result, np.float64).reshape(len(labels), -1).mean(axis=1)

    return values


def compared(metric: MetricSpec, labels: Array, predictions: Array) -> tuple[Array, Array]:
    """Return labels and predictions in the shapes that a Keras metric compares: arrays [N, ...] with the same N.

    For other shapes, Keras would take the mean over all pairs, or fail during the evaluation.

    Raises:
        SpecError: The number of labels isn't the number that the metric compares.
        DataError: A label isn't a class number.
    """
    predictions = _column(predictions)
    sparse = metric.class_name.startswith("Sparse")
    shape = predictions.shape[:-1] if sparse else predictions.shape
    if metric.class_name in _SAME_IN_TFMA and predictions.shape[-1] > 1 and labels.size == math.prod(shape[:-1]):
        # As TFMA does: the class against all others.
        labels = one_hot(labels.reshape(shape[:-1]), shape[-1])
    if labels.size != math.prod(shape):
        raise SpecError(
            f"the metric {metric.name!r} compares "
            + ("a class number with an output for each class" if sparse else "each output with its own label"),
            where="evaluate.metrics",
            bound=f"{counted(math.prod(shape[1:]), 'label')} per example",
            measured=f"labels {list(labels.shape)}, outputs {list(predictions.shape)}",
            remedy="use `binary_accuracy`, which compares each output with its own label, or provide a class number"
            if sparse
            else "use `accuracy` or `cross_entropy`, which compare a class number, or provide a label for each output"
            if shape[-1] > 1
            else "provide a label in the shape of the output",
        )
    if sparse:
        check_classes(labels, predictions.shape[-1])
    return labels.reshape(shape), predictions


def flip_columns(values: Array, weights: Array) -> Array:
    """Return how the correctness of the candidates' answers differs from the baseline's.

    Args:
        values: Values per example, float64 [N, metrics, models], the baseline's first.
        weights: Weights [N].

    Returns:
        float64 [N, metrics * (2 * models - 1)]. By metric: 1 if a value is neither 0 nor 1, or the weight isn't 1; then
        for each candidate, 1 if only the baseline is right; then for each candidate, 1 if only the candidate is.
    """
    other = (((values != 0) & (values != 1)).any(axis=2) | (weights != 1)[:, None])[:, :, None]
    right, base = values[:, :, 1:] == 1, values[:, :, :1] == 1
    return np.concatenate([other, base & ~right, right & ~base], axis=2).reshape(len(values), -1).astype(np.float64)


def _column(values: Array) -> Array:
    return values[:, None] if values.ndim == 1 else values


class _MeanValues(beam.DoFn):
    def __init__(self, metrics: Sequence[MetricSpec], terms: Terms, only: bool) -> None:
        self._metrics, self._models, self._only, self._terms = tuple(metrics), terms.models, only, terms

    def setup(self) -> None:
        """Build the metrics, once per worker."""
        self._functions = [(metric.output, per_example(metric)) for metric in self._metrics]

    def process(self, element: Mapping[str, Any]) -> Sequence[Extracts]:
        """Add the values of one batch."""
        # If all metrics are functions, there are no means.
        labels, predictions = element.get(tfma.LABELS_KEY, {}), element.get(tfma.PREDICTIONS_KEY, {})
        weights = element[tfma.EXAMPLE_WEIGHTS_KEY].astype(np.float64)
        columns = [
            values(_of(labels, output), _of(predictions[model] if len(self._models) > 1 else predictions, output))
            for output, values in self._functions
            for model in self._models
        ]
        means = np.stack(columns, axis=1) if columns else np.empty((len(weights), 0))
        flips = flip_columns(means.reshape(len(weights), len(self._functions), len(self._models)), weights)
        weighed = np.concatenate([means * weights[:, None], flips, weights[:, None]], axis=1)
        kept = element[FUNCTIONS_KEY]
        ratios = [[_sums(kept[metric][model]) for model in self._models] for metric in self._terms.ratios]
        of_means = weighed[:, [*range(means.shape[1]), weighed.shape[1] - 1]]
        extracts = dict(element) | {MEANS_KEY: weighed, TERMS_KEY: self._terms.of(of_means, ratios)}
        if self._only:
            # No later stage reads them, and splitting them into examples costs more than everything else.
            extracts = {k: v for k, v in extracts.items() if k not in (tfma.PREDICTIONS_KEY, tfma.LABELS_KEY)}
        return [extracts]


def _sums(kept: Array) -> Array:
    """The sums of N examples, [N, K], from objects [N]."""
    return np.array(kept.tolist(), np.float64)


def _of(values: Any, output: str | None) -> Array:
    """Values by output, or the values of the only output that metrics read."""
    return values[output] if isinstance(values, Mapping) else values


def MeanValuesExtractor(metrics: Sequence[MetricSpec], terms: Terms, only: bool) -> tfma.extractors.Extractor:
    """Create an extractor of `MEANS_KEY` and `TERMS_KEY`.

    Args:
        metrics: Metrics from `mean_metrics`.
        terms: The columns of `TERMS_KEY`, with the names of the models, as in the predictions.
        only: Whether there are no other metrics. Then predictions and labels are dropped.
    """
    return tfma.extractors.Extractor(stage_name="MeanValues", ptransform=beam.ParDo(_MeanValues(metrics, terms, only)))

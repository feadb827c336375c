"""Checks before a run, on a few examples, that metrics can be computed. Imports TensorFlow Model Analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_specs, metric_types

from components.core.errors import EdgemillError, SpecError, summary_line
from components.evaluate.eval_config import metric_config
from components.evaluate.means import mean_metrics, per_example
from components.metrics.ranks import pools_classes
from components.spec.metric import MetricSpec

Array = npt.NDArray[Any]


def check_computed(metrics: Sequence[MetricSpec], labels: Array, predictions: Array) -> None:
    """Compute each metric on a few examples, and ignore the values.

    Args:
        metrics: Metrics that `check_metrics` accepts.
        labels: Labels of a few examples, [N, ...].
        predictions: Values in the shape of the model's outputs, [N, ...].

    Raises:
        SpecError: A metric cannot be computed with its config from such labels and outputs.
        DataError: A label isn't a class number.
    """
    means = mean_metrics(metrics)
    for metric in metrics:
        _refuse_pooled(metric, labels, predictions)
        try:
            # If the first labels are all equal, divisions by zero are expected.
            with np.errstate(all="ignore"):
                if metric in means:
                    per_example(metric)(labels, predictions)
                else:
                    _compute(metric, labels, predictions)
        except EdgemillError:
            raise
        except Exception as error:
            raise SpecError(
                f"the metric {metric.name!r} cannot be computed on the first examples: "
                f"{type(error).__name__}: {summary_line(error)}",
                where="evaluate.metrics",
                bound="a config that fits the labels and the model's outputs",
                measured=f"{metric.config or 'no config'}, labels {list(labels.shape)}, outputs "
                f"{list(predictions.shape)}",
                remedy="correct the metric's config, or choose a metric that compares such labels and outputs",
            ) from error


def _refuse_pooled(metric: MetricSpec, labels: Array, predictions: Array) -> None:
    """Refuse an area under a curve that ranks the outputs of different classes together."""
    if predictions.ndim > 1 and labels.size < predictions.size and pools_classes(metric.class_name, metric.config):
        classes = predictions.shape[-1]
        raise SpecError(
            f"the metric {metric.name!r} ranks the outputs of all classes together, which says little about any class",
            where="evaluate.metrics",
            bound=f"class_id, one of 0 to {classes - 1}, in the config of {metric.class_name}",
            measured=f"{metric.config or 'no config'}, with class numbers as labels and {classes} outputs",
            remedy=f"write `config: {{class_id: {classes - 1}}}`, with a metric for each class that matters, or use "
            "`auc`, the mean over all classes of the area under the ROC curve",
        )


def _compute(metric: MetricSpec, labels: Array, predictions: Array) -> None:
    spec = tfma.MetricsSpec(metrics=[metric_config(metric)])
    config = tfma.EvalConfig(model_specs=[tfma.ModelSpec(label_key="label")], metrics_specs=[spec])
    results: dict[Any, Any] = {}
    for computation in metric_specs.to_computations([spec], config):
        if isinstance(computation, metric_types.DerivedMetricComputation):
            results.update(computation.result(results))
        # Computations with preprocessors are skipped: they need more than the label and prediction of an example.
        elif isinstance(computation, metric_types.MetricComputation) and not computation.preprocessors:
            combiner = computation.combiner
            combiner.setup()
            accumulator = combiner.create_accumulator()
            for label, prediction in zip(labels, predictions, strict=True):
                one = metric_types.StandardMetricInputs(
                    label=np.atleast_1d(label), prediction=np.atleast_1d(prediction), example_weight=np.ones(1)
                )
                accumulator = combiner.add_input(accumulator, one)
            results.update(combiner.extract_output(accumulator))

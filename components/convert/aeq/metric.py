"""Compute the pipeline's first metric on the calibration sample like the evaluation. Imports TensorFlow."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.core.errors import SpecError
from components.metrics.class_labels import one_hot
from components.metrics.model_outputs import as_probabilities, of_probabilities, read_outputs
from components.metrics.ranks import is_exact_auc, macro_auc
from components.spec.convert import AccuracyBound
from components.spec.metric import MetricSpec

_LOG = logging.getLogger(__name__)
# TensorFlow Lite operators that output probabilities -> their names in the evaluation.
_FINAL = {"SOFTMAX": "Softmax", "LOGISTIC": "Sigmoid"}


def scorer(
    bound: AccuracyBound,
    labels: npt.NDArray[Any],
    reference: npt.NDArray[Any],
    final_kind: str,
    from_logits: bool | Literal["sigmoid"] | None,
    weights: npt.NDArray[Any] | None = None,
) -> Callable[[npt.NDArray[Any]], float]:
    """A function that computes a bound's metric from outputs [N, ...]. Logits become probabilities, as in evaluations.

    Args:
        bound: The bound, which names the metric.
        labels: Labels [N, ...].
        reference: The float model's outputs [N, ...].
        final_kind: Kind of the float model's last operator.
        from_logits: Whether the task's loss takes logits; None if unknown.
        weights: Weights of the examples [N]; None if all have the same weight.
    """
    metric = MetricSpec(name=bound.metric, class_name=bound.class_name, config=bound.config)
    read = read_outputs(
        declared=bound.outputs,
        final_operator=_FINAL.get(final_kind, final_kind),
        from_logits=from_logits,
        predictions=reference,
        labels=labels,
        metrics=(metric,),
    )
    _LOG.info("%s of %s: %s", bound.metric, read.kind, read.why)
    computed = metric if read.kind == "values" else of_probabilities(metric, read.applied)
    dtype = np.float64 if is_exact_auc(computed.class_name, computed.config) else np.float32
    return lambda outputs: score(
        computed.class_name, computed.config, labels, as_probabilities(read.applied, outputs, dtype), weights
    )


def keras_metric(class_name: str, config: Mapping[str, Any]) -> Any:
    """A new Keras metric.

    Raises:
        SpecError: Keras has no such metric, or the metric rejects the arguments.
    """
    kind = getattr(tf.keras.metrics, class_name, None)
    if not (isinstance(kind, type) and issubclass(kind, tf.keras.metrics.Metric)):
        raise SpecError(
            "`keep_float: auto` needs a Keras metric, which it computes on the calibration sample",
            where="evaluate.metrics[0]",
            bound="a class of tf.keras.metrics, such as SparseCategoricalAccuracy",
            measured=class_name,
            remedy="list such a metric first, or list the layers: `keep_float: ['*/dense']`",
        )
    try:
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"the Keras metric {class_name} rejects its config: {error}",
            where="evaluate.metrics[0].config",
            measured=dict(config),
            remedy="correct `config`; `keep_float: auto` computes the first metric with Keras",
        ) from error


def score(
    class_name: str,
    config: Mapping[str, Any],
    labels: npt.NDArray[Any],
    predictions: npt.NDArray[Any],
    weights: npt.NDArray[Any] | None = None,
) -> float:
    """A metric of predictions [N, ...] against labels [N, ...], with weights of the examples [N] if they have them.

    Raises:
        SpecError: The metric does not fit the predictions and labels.
        DataError: A label is out of range, or a prediction is NaN.
    """
    if is_exact_auc(class_name, config):
        return macro_auc(labels, predictions, _per_row(weights, predictions))
    metric = keras_metric(class_name, config)
    outputs = predictions.shape[-1] if predictions.ndim > 1 else 1
    if outputs > 1 and labels.size * outputs == predictions.size and not class_name.startswith("Sparse"):
        # As in TFMA. Keras would compare each output with the class index, or raise an error.
        labels = one_hot(labels.reshape(predictions.shape[:-1]), outputs)
    try:
        # As in the evaluation, single values form a column.
        metric.update_state(_column(labels), _column(predictions), sample_weight=weights)
        return float(metric.result())
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise SpecError(
            f"the Keras metric {class_name} cannot compare the model's output with the label",
            where="evaluate.metrics[0]",
            measured=f"labels {list(labels.shape)}, outputs {list(predictions.shape)}: {str(error).splitlines()[0]}",
            remedy="list a metric that fits the model first",
        ) from error


def _per_row(weights: npt.NDArray[Any] | None, predictions: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """The weights of the examples, repeated for each step of sequences [N, ..., C]."""
    return None if weights is None else np.repeat(weights, math.prod(predictions.shape[1:-1]))


def _column(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(values)[:, None] if values.ndim == 1 else values

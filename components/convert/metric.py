"""The pipeline's first metric on the calibration sample, as Keras computes it; AUC exactly. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from components.errors import SpecError
from components.ranks import exact_auc, is_exact_auc


def keras_metric(class_name: str, config: Mapping[str, Any]) -> Any:
    """A new Keras metric.

    Raises:
        SpecError: Keras has none of that name, or it does not take these arguments.
    """
    kind = getattr(tf.keras.metrics, class_name, None)
    if not (isinstance(kind, type) and issubclass(kind, tf.keras.metrics.Metric)):
        raise SpecError(
            "`keep_float: auto` needs a metric of Keras, which it computes on the calibration sample",
            where="evaluate.metrics[0]",
            bound="a class of tf.keras.metrics, such as SparseCategoricalAccuracy",
            measured=class_name,
            remedy="put such a metric first, or name the layers: `keep_float: ['*/dense']`",
        )
    try:
        return kind(**config)
    except (TypeError, ValueError) as error:
        raise SpecError(
            f"the Keras metric {class_name} does not take its config: {error}",
            where="evaluate.metrics[0].config",
            measured=dict(config),
            remedy="correct config: `keep_float: auto` computes the first metric with Keras",
        ) from error


def score(class_name: str, config: Mapping[str, Any], labels: npt.NDArray[Any], predictions: npt.NDArray[Any]) -> float:
    """A metric of predictions [N, ...] against labels [N, ...].

    Raises:
        SpecError: The metric does not go with them.
    """
    if is_exact_auc(class_name, config) and labels.size == predictions.size:
        return exact_auc(np.ravel(labels), np.ravel(predictions))
    metric = keras_metric(class_name, config)
    try:
        # As the evaluation gives them to Keras: single values in a column.
        metric.update_state(_column(labels), _column(predictions))
        return float(metric.result())
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise SpecError(
            f"the Keras metric {class_name} cannot compare the model's output with the label",
            where="evaluate.metrics[0]",
            measured=f"labels {list(labels.shape)}, outputs {list(predictions.shape)}: {str(error).splitlines()[0]}",
            remedy="put a metric that fits the model first",
        ) from error


def _column(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.asarray(values)[:, None] if values.ndim == 1 else values

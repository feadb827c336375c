"""Metrics: their names, the classes that compute them, and the kinds of output that they compare."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from components.core.values import FrozenModel

ShortName = Literal[
    "accuracy", "top_5_accuracy", "binary_accuracy", "auc", "cross_entropy", "mean_absolute_error", "mean_squared_error"
]

# What a model returns. Metrics of classes compare probabilities.
OutputKind = Literal["probabilities", "logits", "values"]

# Short names of the TFMA metrics that most pipelines need. Other metrics are named by their class.
SHORT_NAMES: dict[ShortName, dict[str, Any]] = {
    "accuracy": {"class_name": "SparseCategoricalAccuracy"},
    "top_5_accuracy": {"class_name": "SparseTopKCategoricalAccuracy", "config": {"k": 5}},
    "binary_accuracy": {"class_name": "BinaryAccuracy"},
    # Without thresholds: `components.metrics.ranks` computes it exactly.
    "auc": {"class_name": "AUC"},
    "cross_entropy": {"class_name": "SparseCategoricalCrossentropy"},
    "mean_absolute_error": {"class_name": "MeanAbsoluteError"},
    "mean_squared_error": {"class_name": "MeanSquaredError"},
}


class MetricSpec(FrozenModel):
    """Any metric of TensorFlow Model Analysis.

    Attributes:
        name: Name of the metric in the report and in the gate's bounds.
        class_name: Metric class of TensorFlow Model Analysis or Keras.
        config: Keyword arguments of that class.
        output: The output that it compares with its target: of the task's `postprocess`, or of the model. By default,
            the only one.
    """

    name: str
    class_name: str
    config: dict[str, Any] = {}
    output: str | None = None

    @property
    def less_is_better(self) -> bool | None:
        """Whether a smaller value is better, judged by the name of the class; None for an unknown class."""
        name = self.class_name.rpartition(".")[2].lower()
        if name.endswith(_LESS_IS_BETTER):
            return True
        return False if name.startswith(_MORE_IS_BETTER) or name.endswith(_MORE_IS_BETTER) else None


# Lowercase prefixes and suffixes of the names of Keras and TFMA metric classes, such as `LogCoshError`, `HammingLoss`,
# `PrecisionAtRecall`, and `BinaryIoU`. The first list takes precedence.
_LESS_IS_BETTER = ("error", "crossentropy", "loss", "hinge", "poisson", "kldivergence", "fallout", "missrate")
_MORE_IS_BETTER = (
    *("accuracy", "auc", "precision", "recall", "sensitivity", "specificity", "f1", "f1score", "fbetascore"),
    *("r2score", "iou", "ndcg"),
)


def _from_name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in SHORT_NAMES:
        raise ValueError(
            f"{value!r} is not a short name of a metric; use one of {', '.join(sorted(SHORT_NAMES))}, "
            "or {name: ..., class_name: ...} with any metric class of TensorFlow Model Analysis"
        )
    return {"name": value, **SHORT_NAMES[value]}


Metric = Annotated[MetricSpec, BeforeValidator(_from_name, json_schema_input_type=ShortName | MetricSpec)]

"""What a metric is called, which class computes it, and what kind of output it compares."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from components.core.values import FrozenModel

ShortName = Literal[
    "accuracy",
    "top_5_accuracy",
    "binary_accuracy",
    "auc",
    "cross_entropy",
    "mean_absolute_error",
    "mean_squared_error",
]

# What a model's output is; metrics of classes compare probabilities.
OutputKind = Literal["probabilities", "logits", "values"]

# Short names for the metrics of TFMA that most pipelines need; any other is named by its class.
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
    """

    name: str
    class_name: str
    config: dict[str, Any] = {}

    @property
    def less_is_better(self) -> bool | None:
        """Which way the metric improves, judged by its class; None for a class that is not known."""
        name = self.class_name.rpartition(".")[2].lower()
        if name.endswith(_LESS_IS_BETTER):
            return True
        return False if name.startswith(_MORE_IS_BETTER) or name.endswith(_MORE_IS_BETTER) else None


# What the names of metric classes of Keras and TFMA begin or end with, in lower case; `LogCoshError`, `HammingLoss`,
# `PrecisionAtRecall`, `BinaryIoU`. The first list is asked first.
_LESS_IS_BETTER = ("error", "crossentropy", "loss", "hinge", "poisson", "kldivergence", "fallout", "missrate")
_MORE_IS_BETTER = (
    "accuracy",
    "auc",
    "precision",
    "recall",
    "sensitivity",
    "specificity",
    "f1",
    "f1score",
    "fbetascore",
    "r2score",
    "iou",
    "ndcg",
)


def _from_name(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value not in SHORT_NAMES:
        raise ValueError(
            f"{value!r} is no short name of a metric; use one of {', '.join(sorted(SHORT_NAMES))}, "
            "or {name: ..., class_name: ...} with any metric class of TensorFlow Model Analysis"
        )
    return {"name": value, **SHORT_NAMES[value]}


Metric = Annotated[MetricSpec, BeforeValidator(_from_name, json_schema_input_type=ShortName | MetricSpec)]

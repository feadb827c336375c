"""Metrics: their names, the classes or functions that compute them, and the kinds of output that they compare."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, field_validator, model_validator

from components.core.values import FrozenModel

ShortName = Literal[
    "accuracy",
    "top_5_accuracy",
    "binary_accuracy",
    "auc",
    "cross_entropy",
    "mean_absolute_error",
    "mean_squared_error",
    "step_accuracy",
    "mean_iou",
    "precision",
    "recall",
    "f1",
    "coco_map",
    "coco_map_50",
    "word_error_rate",
    "character_error_rate",
    "anomaly_auc",
    "cosine_similarity",
    "recall_at_1",
    "recall_at_5",
    "keypoint_error",
]

# What a model returns. Metrics of classes compare probabilities.
OutputKind = Literal["probabilities", "logits", "values"]

# Short names of the metrics that most pipelines need. Other metrics are named by their class or function.
SHORT_NAMES: dict[ShortName, dict[str, Any]] = {
    "accuracy": {"class_name": "SparseCategoricalAccuracy"},
    "top_5_accuracy": {"class_name": "SparseTopKCategoricalAccuracy", "config": {"k": 5}},
    "binary_accuracy": {"class_name": "BinaryAccuracy"},
    # Without thresholds: `components.metrics.ranks` computes it exactly.
    "auc": {"class_name": "AUC"},
    "cross_entropy": {"class_name": "SparseCategoricalCrossentropy"},
    "mean_absolute_error": {"class_name": "MeanAbsoluteError"},
    "mean_squared_error": {"class_name": "MeanSquaredError"},
    "step_accuracy": {"function": "step_accuracy"},
    "mean_iou": {"function": "mean_iou"},
    "precision": {"function": "precision"},
    "recall": {"function": "recall"},
    "f1": {"function": "f1"},
    "coco_map": {"function": "coco_map"},
    "coco_map_50": {"function": "coco_map", "config": {"ious": [0.5]}},
    "word_error_rate": {"function": "word_error_rate"},
    "character_error_rate": {"function": "character_error_rate"},
    "anomaly_auc": {"function": "anomaly_auc"},
    "cosine_similarity": {"function": "cosine_similarity"},
    "recall_at_1": {"function": "recall_at_k", "config": {"k": 1}},
    "recall_at_5": {"function": "recall_at_k", "config": {"k": 5}},
    "keypoint_error": {"function": "keypoint_error"},
}

Range = tuple[float | None, float | None]


class ReadyMade(NamedTuple):
    """Facts about a ready-made function, available without loading it.

    Attributes:
        less_is_better: Whether a smaller value is better.
        range: The smallest and the largest value; None if unknown.
        reads: Arguments of its config that name a feature.
    """

    less_is_better: bool
    range: Range
    reads: tuple[str, ...] = ()


# `components.metrics.functions` has the class of each.
READY_MADE = {
    "step_accuracy": ReadyMade(False, (0.0, 1.0), ("mask",)),
    "mean_iou": ReadyMade(False, (0.0, 1.0), ("mask",)),
    "precision": ReadyMade(False, (0.0, 1.0), ("mask",)),
    "recall": ReadyMade(False, (0.0, 1.0), ("mask",)),
    "f1": ReadyMade(False, (0.0, 1.0), ("mask",)),
    "coco_map": ReadyMade(False, (0.0, 1.0)),
    "word_error_rate": ReadyMade(True, (0.0, None), ("reference",)),
    "character_error_rate": ReadyMade(True, (0.0, None), ("reference",)),
    "anomaly_auc": ReadyMade(False, (0.0, 1.0), ("reconstructs", "labels")),
    "cosine_similarity": ReadyMade(False, (-1.0, 1.0)),
    "recall_at_k": ReadyMade(False, (0.0, 1.0)),
    "keypoint_error": ReadyMade(True, (0.0, None), ("mask",)),
}


# Metrics that don't read scores, but only the class with the highest one along the last axis, the first of several.
_READ_CLASSES = frozenset(
    {"SparseCategoricalAccuracy", "CategoricalAccuracy", "mean_iou", "step_accuracy", "precision", "recall", "f1"}
)


class MetricSpec(FrozenModel):
    """A metric: any class of TensorFlow Model Analysis, or a function.

    Attributes:
        name: Name of the metric in the report and in the gate's bounds.
        class_name: Metric class of TensorFlow Model Analysis or Keras, or one that the task's module registers with
            `register_keras_serializable`, as `package>Name`.
        function: Instead of a class, a ready-made function, such as `mean_iou`, or your own function or accumulator
            class, `package.module:NAME`. See docs/metrics.md.
        config: Keyword arguments of that class or function.
        output: The output that it compares with its target, from the task's `postprocess` or from the model. By
            default, the only one; a function gets all of them.
        features: Names of dense features that your own function also reads.
        less_is_better: Whether a smaller value is better. By default, the known value for the class or function.
        range: The smallest and the largest possible value, null for no limit, such as `[0, null]`. For means and ratios
            of sums, it is the range of single examples, which `decide_on: test` needs. By default, the known range of
            the class or function.
    """

    name: str
    class_name: str = ""
    function: str = ""
    config: dict[str, Any] = {}
    output: str | None = None
    features: tuple[str, ...] = ()
    less_is_better: bool | None = None
    range: Range | None = None

    @property
    def references(self) -> tuple[str, ...]:
        """The reference of the user's code that computes it, if any."""
        return (self.function,) if ":" in self.function else ()

    @property
    def reads_scores(self) -> bool:
        """Whether the metric may read more than the class with the highest score."""
        return (self.class_name or self.function) not in _READ_CLASSES

    @model_validator(mode="before")
    @classmethod
    def _with_what_is_known(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known: dict[str, Any] = {}
        function, config = given.get("function"), given.get("config")
        if isinstance(function, str) and (ready := READY_MADE.get(function)):
            read = [config.get(argument) for argument in ready.reads] if isinstance(config, dict) else []
            known = {"less_is_better": ready.less_is_better, "range": ready.range, "features": list(filter(None, read))}
        elif isinstance(class_name := given.get("class_name"), str) and class_name:
            known = {"less_is_better": _less_is_better(class_name)}
        declared = {name for name, value in given.items() if value not in (None, [], ())}
        return {**given, **{name: value for name, value in known.items() if name not in declared}}

    @field_validator("function")
    @classmethod
    def _check_function(cls, function: str) -> str:
        module, colon, name = function.partition(":")
        if function and function not in READY_MADE and not (module and colon and name.isidentifier()):
            near = difflib.get_close_matches(function, READY_MADE, 1)
            raise ValueError(
                f"{function!r} is not a function{f'; did you mean {near[0]!r}?' if near else ''}; "
                f"use package.module:NAME, or one of {', '.join(READY_MADE)}"
            )
        return function

    @model_validator(mode="after")
    def _check_computed(self) -> MetricSpec:
        if bool(self.class_name) == bool(self.function):
            raise ValueError("a metric needs either `class_name` or `function`")
        return self


def _less_is_better(class_name: str) -> bool | None:
    """Whether a smaller value is better, judged by the name of the class; None for an unknown class.

    The name of a class that the user registers, `package>Name`, says nothing.
    """
    if ">" in class_name:
        return None
    name = class_name.rpartition(".")[2].lower()
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
        near = difflib.get_close_matches(value, SHORT_NAMES, 1)
        raise ValueError(
            f"{value!r} is not a short name of a metric{f'; did you mean {near[0]!r}?' if near else ''}; "
            f"use one of {', '.join(sorted(SHORT_NAMES))}, "
            "{name: ..., class_name: ...} with any metric class of TensorFlow Model Analysis, "
            "or {name: ..., function: package.module:NAME} with your own function"
        )
    return {"name": value, **SHORT_NAMES[value]}


Metric = Annotated[MetricSpec, BeforeValidator(_from_name, json_schema_input_type=ShortName | MetricSpec)]

"""Detect whether a model returns probabilities, logits, or values, and convert logits. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from components.facts.outputs import OutputReading
from components.metrics.ranks import is_exact_auc
from components.spec.metric import MetricSpec, OutputKind

Array = npt.NDArray[Any]
Activation = Literal["", "softmax", "sigmoid"]

# Class name prefixes of the metrics that compare probabilities with labels.
_OF_PROBABILITIES = (
    *("AUC", "Balanced", "Binary", "Calibration", "Categorical", "ConfusionMatrix", "DiagnosticOdds", "F1", "FBeta"),
    *("FN", "FP", "FallOut", "False", "Fowlkes", "Informedness", "KLDivergence", "Markedness", "Matthews"),
    *("MissRate", "Multi", "NPV", "Negative", "PPV", "Positive", "Precision", "Predicted", "Prevalence"),
    *("Recall", "Sensitivity", "Sparse", "Specificity", "TN", "TP", "Threat", "TopK", "True"),
)
# Softmax outputs in float16 sum to 1 within this tolerance.
_TOLERANCE = 5e-3


def read_outputs(
    *,
    declared: OutputKind | None,
    final_operator: str,
    from_logits: bool | Literal["sigmoid"] | None,
    predictions: Array,
    labels: Array,
    metrics: Sequence[MetricSpec],
) -> OutputReading:
    """Determine the kind of the model's output, and what that means for its metrics.

    Args:
        declared: The kind from the pipeline file; None detects it.
        final_operator: TensorFlow's name of the operator that computes the baseline's output; "" if it is unknown.
        from_logits: Whether the task's loss takes logits, `sigmoid` if it applies a sigmoid to each of them; None if it
            is unknown.
        predictions: The baseline's outputs for some real examples, [N, ...].
        labels: The labels of these examples, [N, ...].
        metrics: The metrics to compute.
    """
    read = _read(declared, final_operator, from_logits, predictions, labels, metrics)
    return read.model_copy(update={"averages": tuple(_averages(predictions, labels, metrics))})


def _read(
    declared: OutputKind | None,
    final_operator: str,
    from_logits: bool | Literal["sigmoid"] | None,
    predictions: Array,
    labels: Array,
    metrics: Sequence[MetricSpec],
) -> OutputReading:
    activation = "sigmoid" if from_logits == "sigmoid" else _activation(predictions, labels, metrics)
    if declared is not None:
        why = "set by the field evaluate.outputs"
        return OutputReading(kind=declared, applied=activation if declared == "logits" else "", why=why)
    if final_operator in ("Softmax", "Sigmoid"):
        return OutputReading(kind="probabilities", why=f"the model ends in {final_operator}")
    own = [metric.name for metric in metrics if _has_own_threshold(metric)]
    # A sigmoid keeps the order of outputs, so thresholds of logits can follow it. Softmax does not.
    if own and (activation == "softmax" or not (from_logits or any(map(_needs_probabilities, metrics)))):
        return OutputReading(kind="values", why=f"the threshold of the metric {own[0]} is not a probability")
    if from_logits:
        return OutputReading(kind="logits", applied=activation, why="the loss takes logits (from_logits=True)")
    if logits := [metric.name for metric in metrics if metric.config.get("from_logits")]:
        why = f"the metric {logits[0]} takes logits (from_logits: true)"
        return OutputReading(kind="logits", applied=activation, why=why)
    if own:
        why = f"the threshold of the metric {own[0]} is not a probability"
        return OutputReading(kind="logits", applied=activation, why=why)
    if not any(_kind(metric).startswith(_OF_PROBABILITIES) for metric in metrics):
        return OutputReading(kind="values", why="no metric compares probabilities")
    low, high = (float(predictions.min()), float(predictions.max())) if predictions.size else (0.0, 1.0)
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        why = f"{len(predictions)} examples have outputs of {low:.4g} to {high:.4g}"
        return OutputReading(kind="logits", applied=activation, why=why)
    sums = predictions.sum(axis=-1) if activation == "softmax" else np.ones(1)
    if np.abs(sums - 1).max(initial=0) > _TOLERANCE:
        why = f"outputs of {len(predictions)} examples sum to {sums.min():.4g} to {sums.max():.4g}"
        return OutputReading(kind="logits", applied=activation, why=why)
    return OutputReading(
        kind="probabilities", why=f"{len(predictions)} examples have outputs of {low:.4g} to {high:.4g}"
    )


def _averages(predictions: Array, labels: Array, metrics: Sequence[MetricSpec]) -> Iterator[str]:
    outputs = predictions.shape[-1] if predictions.ndim > 1 else 1
    of_classes = labels.size < predictions.size
    if outputs == 1 or (of_classes and outputs == 2):
        return
    over, aside = (
        (f"{outputs} classes, each against all others", "classes that no example has")
        if of_classes
        else (f"{outputs} outputs", "outputs whose labels are all equal")
    )
    for metric in metrics:
        if is_exact_auc(metric.class_name, metric.config):
            yield f"{metric.name} is the mean of the areas of {over}; {aside} do not count"


def _activation(predictions: Array, labels: Array, metrics: Sequence[MetricSpec]) -> Activation:
    """Softmax if exactly one of several classes is correct, else sigmoid."""
    outputs = predictions.shape[-1] if predictions.ndim > 1 else 1
    if outputs == 1:
        return "sigmoid"
    if labels.size != predictions.size:
        return "softmax"
    # As many labels as outputs: either one-hot, or independent labels that may look one-hot by chance.
    if any(_kind(metric).startswith("Binary") for metric in metrics):
        return "sigmoid"
    rows = labels.reshape(-1, outputs)
    return "softmax" if np.allclose(rows.sum(axis=1), 1) else "sigmoid"


def _kind(metric: MetricSpec) -> str:
    return metric.class_name.rpartition(".")[2]


def _needs_probabilities(metric: MetricSpec) -> bool:
    return _kind(metric).startswith(_OF_PROBABILITIES) and not _has_own_threshold(metric)


def _has_own_threshold(metric: MetricSpec) -> bool:
    """Whether this isn't a threshold of probabilities. Curves of probabilities may begin at 0 and end at 1."""
    thresholds = [float(each) for each in _thresholds(metric)]
    if len(thresholds) == 1:
        return not 0 < thresholds[0] < 1
    return any(not 0 <= each <= 1 for each in thresholds)


def _thresholds(metric: MetricSpec) -> list[Any]:
    one, several = metric.config.get("threshold"), metric.config.get("thresholds")
    return [*([] if one is None else [one]), *([] if several is None else np.ravel(several))]


def as_probabilities(applied: Activation, outputs: Array, dtype: npt.DTypeLike = np.float32) -> Array:
    """The values that the metrics compare; the outputs unchanged if no activation is applied.

    In float32, the sigmoids of all logits above 17 are equal. Metrics of ranks need float64, which keeps their order.
    """
    return _probabilities(applied, outputs.astype(np.float64)).astype(dtype) if applied else outputs


def _probabilities(applied: Activation, wide: Array) -> Array:
    if applied == "sigmoid":
        # Unlike 1 / (1 + exp(-x)), this form does not overflow.
        power = np.exp(-np.abs(wide))
        return np.where(wide < 0, power, 1) / (1 + power)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def of_probabilities(metric: MetricSpec, applied: Activation) -> MetricSpec:
    """Return the same metric for probabilities.

    Its own conversion of logits (`from_logits`) is turned off. If its thresholds are logits, they get the same sigmoid
    as the outputs, which changes no decision.

    Args:
        metric: A metric.
        applied: The function that turned outputs into probabilities; empty if the model returns them.
    """
    config = dict(metric.config)
    if config.get("from_logits"):
        config["from_logits"] = False
    if applied == "sigmoid" and _has_own_threshold(metric):
        for name in ("threshold", "thresholds"):
            if config.get(name) is not None:
                config[name] = as_probabilities(applied, np.asarray(config[name], np.float64)).tolist()
    return metric if config == metric.config else metric.model_copy(update={"config": config})

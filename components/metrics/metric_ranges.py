"""The possible range of a metric, and of the values of single examples."""

from __future__ import annotations

import math

from components.spec.metric import MetricSpec

# Prefixes and suffixes of the lowercase names of Keras and TFMA metric classes.
_SHARES = ("accuracy", "auc", "precision", "recall", "sensitivity", "specificity", "iou")
_SHARES_BY_END = (*_SHARES, "f1", "f1score", "fbetascore", "ndcg", "hammingloss", "fallout", "missrate")
_NEVER_NEGATIVE = ("error", "crossentropy", "hinge", "divergence", "positives", "negatives", "examplecount")
# Keras clips probabilities to at least 1e-7 before it takes the logarithm.
_LARGEST_CROSS_ENTROPY = 1.01 * -math.log(1e-7)
_OTHERS = {
    "cosinesimilarity": (-1.0, 1.0),
    "matthewscorrelationcoefficient": (-1.0, 1.0),
    "cohenskappa": (-1.0, 1.0),
    "squaredpearsoncorrelation": (0.0, 1.0),
    "r2score": (-math.inf, 1.0),
}


def metric_range(class_name: str) -> tuple[float, float] | None:
    """The range of the values of a metric class of Keras or TFMA.

    Returns:
        The smallest and the largest value, infinite if there is none; None for an unknown class, such as
        `package>Name`, which the user registers.
    """
    if ">" in class_name:
        return None
    name = class_name.rpartition(".")[2].lower()
    if name.startswith(_SHARES) or name.endswith(_SHARES_BY_END):
        return 0.0, 1.0
    if name in _OTHERS:
        return _OTHERS[name]
    return (0.0, math.inf) if name.endswith(_NEVER_NEGATIVE) else None


def values_of(metric: MetricSpec) -> tuple[float, float] | None:
    """Return the range of a metric's values: the declared range, or its class's; None if it is unknown."""
    if metric.range is None:
        return metric_range(metric.class_name)
    low, high = metric.range
    return -math.inf if low is None else low, math.inf if high is None else high


def limits_of(metric: MetricSpec) -> tuple[float, float] | None:
    """Return the range of the values of single examples, for means and ratios of sums; None if there are no limits."""
    found = values_of(metric)
    if metric.range is None and metric.class_name.lower().endswith("crossentropy"):
        found = (0.0, _LARGEST_CROSS_ENTROPY)
    return found if found is not None and math.isfinite(found[1] - found[0]) else None

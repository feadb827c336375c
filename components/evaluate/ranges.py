"""The values that a metric can take at all, by its class: what no bound should lie beyond."""

from __future__ import annotations

import math

# Beginnings and ends of names of metric classes of Keras and TFMA, in lower case.
_SHARES = ("accuracy", "auc", "precision", "recall", "sensitivity", "specificity", "iou")
_SHARES_BY_END = (*_SHARES, "f1", "f1score", "fbetascore", "ndcg", "hammingloss", "fallout", "missrate")
_NEVER_NEGATIVE = ("error", "crossentropy", "hinge", "divergence", "positives", "negatives", "examplecount")
_OTHERS = {
    "cosinesimilarity": (-1.0, 1.0),
    "matthewscorrelationcoefficient": (-1.0, 1.0),
    "cohenskappa": (-1.0, 1.0),
    "squaredpearsoncorrelation": (0.0, 1.0),
    "r2score": (-math.inf, 1.0),
}


def metric_range(class_name: str) -> tuple[float, float] | None:
    """The least and the greatest value of a metric.

    Args:
        class_name: A metric class of Keras or TFMA.

    Returns:
        Both, infinity where there is no least or greatest; None for a class that is not known.
    """
    name = class_name.rpartition(".")[2].lower()
    if name.startswith(_SHARES) or name.endswith(_SHARES_BY_END):
        return 0.0, 1.0
    if name in _OTHERS:
        return _OTHERS[name]
    return (0.0, math.inf) if name.endswith(_NEVER_NEGATIVE) else None

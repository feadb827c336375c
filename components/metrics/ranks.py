"""The area under the ROC curve, exactly. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, SpecError
from components.metrics.class_labels import check_classes

Array = npt.NDArray[Any]


# Classes of TFMA that compute areas under curves at thresholds.
_AREAS = ("AUC", "AUCPrecisionRecall")


def is_exact_auc(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a metric is the area under the whole ROC curve, without thresholds of the user's."""
    return class_name == "AUC" and dict(config) in ({}, {"curve": "ROC"})


def pools_classes(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a metric is an area that TFMA computes of the outputs of all classes as if they were those of one."""
    chosen = any(config.get(name) is not None for name in ("class_id", "top_k"))
    return class_name.rpartition(".")[2] in _AREAS and not is_exact_auc(class_name, config) and not chosen


def macro_auc(labels: Array, scores: Array) -> float:
    """The mean of the areas of all outputs; scikit-learn's `roc_auc_score(multi_class="ovr")`.

    A class or output that no example has, or that all have, has no area and does not count: scikit-learn has no mean
    then. Two outputs with class numbers are a binary model, whose second output is the score of the positives.

    Args:
        labels: [N, ...] numbers of classes, each against all others; or as many as scores, each 0 or 1.
        scores: [N, ..., C], or [N] of one output.

    Returns:
        NaN where no output has an area.

    Raises:
        SpecError: There are neither as many labels as scores, nor one for each C scores.
        DataError: A label is out of range, or a score is NaN.
    """
    wide = scores.reshape(-1, scores.shape[-1] if scores.ndim > 1 else 1)
    rows, outputs = wide.shape
    if labels.size == wide.size:
        columns = labels.reshape(wide.shape).T
    elif labels.size == rows:
        numbers = labels.reshape(-1)
        check_classes(numbers, outputs)
        if outputs == 2:
            return exact_auc(numbers, wide[:, 1])
        columns = numbers == np.arange(outputs)[:, None]
    else:
        raise SpecError(
            "the metric `auc` compares a class number with an output for each class, or each output with a label",
            where="evaluate.metrics",
            bound=f"{rows} or {wide.size} labels",
            measured=f"labels {list(labels.shape)}, outputs {list(scores.shape)}",
            remedy="correct the label, or give the model an output for each",
        )
    areas = np.array([exact_auc(column, score) for column, score in zip(columns, wide.T, strict=True)])
    known = areas[~np.isnan(areas)]
    return float(known.mean()) if known.size else float("nan")


def exact_auc(labels: Array, scores: Array) -> float:
    """The chance that a positive scores above a negative; a tie counts half. NaN where one of the two is missing.

    Thresholds would lump scores together: 200 of them are off by 0.003 on the 256 scores of an int8 output.

    Args:
        labels: [N], each 0 or 1; a label between them counts as that part of a positive.
        scores: [N], of any range.

    Raises:
        DataError: A label is outside 0..1, or a score is NaN.
    """
    positive, wide = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    wrong = positive[~((positive >= 0) & (positive <= 1))]
    if wrong.size:
        raise DataError(
            "the metric AUC tells two classes apart, and a label is neither",
            where="label",
            bound="0 to 1",
            measured=f"{wrong[0]:g} and {wrong.size - 1} more of {positive.size}",
            remedy="take a metric for several classes, or give the examples a label of 0 or 1",
        )
    if np.isnan(wide).any():
        raise DataError(
            f"{int(np.isnan(wide).sum())} of {wide.size} predictions are NaN: they have no rank",
            where="the model's output",
            remedy="find out in which layer the model computes NaN",
        )
    # Not by comparing neighbors of a sorted array alone: all equal scores share one rank.
    values, place = np.unique(wide, return_inverse=True)
    positives = np.bincount(place, positive, len(values))
    negatives = np.bincount(place, 1 - positive, len(values))
    below = np.cumsum(negatives) - negatives
    pairs = float(positives.sum() * negatives.sum())
    return float((positives * (below + negatives / 2)).sum()) / pairs if pairs else float("nan")

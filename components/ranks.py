"""The area under the ROC curve, exactly. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from components.errors import DataError


def is_exact_auc(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a metric is the area under the whole ROC curve, without thresholds of the user's."""
    return class_name == "AUC" and dict(config) in ({}, {"curve": "ROC"})


def exact_auc(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> float:
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

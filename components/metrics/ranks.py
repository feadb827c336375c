"""The exact area under the ROC curve. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, SpecError
from components.metrics.class_labels import check_classes

Array = npt.NDArray[Any]


# TFMA classes that compute areas under curves at thresholds.
_AREAS = ("AUC", "AUCPrecisionRecall")


def is_exact_auc(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a metric is the area under the full ROC curve, without user-defined thresholds."""
    return class_name == "AUC" and dict(config) in ({}, {"curve": "ROC"})


def pools_classes(class_name: str, config: Mapping[str, Any]) -> bool:
    """Whether a metric is an area that TFMA computes over the pooled outputs of all classes."""
    chosen = any(config.get(name) is not None for name in ("class_id", "top_k"))
    return class_name.rpartition(".")[2] in _AREAS and not is_exact_auc(class_name, config) and not chosen


def macro_auc(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """The mean of the areas of all outputs, like scikit-learn's `roc_auc_score(multi_class="ovr")`.

    A class or output without positives or without negatives has no area and is skipped; scikit-learn returns no mean in
    this case. Two outputs with class indexes are a binary model, whose second output is the score of the positive
    class.

    Args:
        labels: [N, ...] class indexes, each class against all others; or as many labels as scores, each 0 or 1.
        scores: [N, ..., C], or [N] for a single output.
        weights: [N, ...], how often each example counts; None if all count once.

    Returns:
        The mean; NaN if no output has an area.

    Raises:
        SpecError: The number of labels is neither the number of scores, nor that number divided by C.
        DataError: A label is out of range, or a score is NaN.
    """
    wide = scores.reshape(-1, scores.shape[-1] if scores.ndim > 1 else 1)
    rows, outputs = wide.shape
    if labels.size == rows != wide.size:
        check_classes(labels.reshape(-1), outputs)
        if outputs == 2:
            return exact_auc(labels.reshape(-1), wide[:, 1], weights)
    elif labels.size != wide.size:
        raise SpecError(
            "the metric `auc` compares a class index with one output per class, or each output with a label",
            where="evaluate.metrics",
            bound=f"{rows} or {wide.size} labels",
            measured=f"labels {list(labels.shape)}, outputs {list(scores.shape)}",
            remedy="correct the labels, or give the model an output for each class or label",
        )
    columns = _columns(labels, wide)
    areas = np.array([exact_auc(column, score, weights) for column, score in zip(columns, wide.T, strict=True)])
    known = areas[~np.isnan(areas)]
    return float(known.mean()) if known.size else float("nan")


class AreaTerms(NamedTuple):
    """The area as a ratio of sums over examples, whose denominators add up to 1.

    The sums are those of the projection of the area, a two-sample U-statistic, on single examples (Hoeffding 1948, "A
    class of statistics with asymptotically normal distribution", Annals of Mathematical Statistics 19:293-325). If all
    pairs with an example are ranked wrong, its numerator is at least `least` times its denominator.

    Attributes:
        numerators, denominators: [N].
        least, greatest: Limits of numerators, per denominator.
        kinds: Numbers of the examples' classes or combinations of labels, [N].
    """

    numerators: Array
    denominators: Array
    least: float
    greatest: float
    kinds: Array


def area_terms(labels: Array, scores: Array, weights: Array | None = None) -> AreaTerms | None:
    """Return the contributions of N examples to `macro_auc` with the same arguments; None if there are no such terms.

    There are none if an example has several rows of scores, or a label that is neither 0 nor 1, or if no output has an
    area.
    """
    wide = scores.reshape(-1, scores.shape[-1] if scores.ndim > 1 else 1)
    rows, outputs = wide.shape
    columns = _columns(labels, wide)
    if outputs == 2 and labels.size == rows:
        columns, wide = columns[1:], wide[:, 1:]
    if not np.isin(columns, (0, 1)).all():
        return None
    counted = np.ones(rows) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    numerators, denominators, areas = np.zeros(rows), np.zeros(rows), list[float]()
    for positive, score in zip(columns.astype(bool), wide.T, strict=True):
        sums = np.where(positive, counted[positive].sum(), counted[~positive].sum())
        if not (counted[positive].sum() and counted[~positive].sum()):
            continue
        won = np.empty(rows)
        won[positive] = _below(score[~positive], counted[~positive], score[positive])
        won[~positive] = 1 - _below(score[positive], counted[positive], score[~positive])
        areas.append(float(counted[positive] @ won[positive] / counted[positive].sum()))
        share = counted / (2 * sums)
        numerators += share * (2 * won - areas[-1])
        denominators += share
    if not areas:
        return None
    kinds = np.unique(columns, axis=1, return_inverse=True)[1].reshape(-1)
    return AreaTerms(numerators / len(areas), denominators / len(areas), -max(areas), 2 - min(areas), kinds)


def _columns(labels: Array, wide: Array) -> Array:
    """Labels [outputs, N] of 0 or 1 (usually) for scores [N, outputs]."""
    if labels.size == wide.size:
        return labels.reshape(wide.shape).T
    return labels.reshape(-1) == np.arange(wide.shape[1])[:, None]


def _below(others: Array, weights: Array, scores: Array) -> Array:
    """The share of the other scores, by weight, that each score exceeds. Equal scores count half."""
    order = np.argsort(others, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(weights[order])])
    ranked = others[order]
    both = sums[np.searchsorted(ranked, scores, "left")] + sums[np.searchsorted(ranked, scores, "right")]
    return both / (2 * sums[-1])


def exact_auc(labels: Array, scores: Array, weights: Array | None = None) -> float:
    """The probability that a positive scores above a negative. A tie counts half.

    Thresholds merge scores: 200 thresholds are off by 0.003 on the 256 scores of an int8 output.

    Args:
        labels: [N], each 0 or 1. A label between them counts as that fraction of a positive.
        scores: [N], in any range.
        weights: [N], finite and at least 0; None if all have the same weight.

    Returns:
        The area; NaN if there are no positives or no negatives.

    Raises:
        DataError: A label is outside 0..1, or a score is NaN.
    """
    positive, wide = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    wrong = positive[~((positive >= 0) & (positive <= 1))]
    if wrong.size:
        raise DataError(
            "the metric AUC compares two classes, but a label is neither",
            where="label",
            bound="0 to 1",
            measured=f"{wrong[0]:g} and {wrong.size - 1} more of {positive.size}",
            remedy="use a metric for several classes, or give the examples labels of 0 or 1",
        )
    if np.isnan(wide).any():
        raise DataError(
            f"{int(np.isnan(wide).sum())} of {wide.size} predictions are NaN, so they have no rank",
            where="the model's output",
            remedy="find the layer in which the model computes NaN",
        )
    # All equal scores share one rank.
    values, place = np.unique(wide, return_inverse=True)
    counted = np.ones(wide.size) if weights is None else np.asarray(weights, np.float64).reshape(-1)
    positives = np.bincount(place, counted * positive, len(values))
    negatives = np.bincount(place, counted * (1 - positive), len(values))
    below = np.cumsum(negatives) - negatives
    pairs = float(positives.sum() * negatives.sum())
    return float((positives * (below + negatives / 2)).sum()) / pairs if pairs else float("nan")

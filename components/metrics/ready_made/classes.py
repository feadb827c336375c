"""Metrics of class indexes at each step of a sequence or pixel of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import SpecError
from components.metrics.accumulator import Arrays, RatioOfSums
from components.metrics.class_labels import check_classes
from components.metrics.ready_made.read import class_numbers, mask_of, only

Array = npt.NDArray[Any]


class StepAccuracy(RatioOfSums):
    """The share of correct steps of all sequences, without masked steps.

    Predictions are the scores of the classes [N, T, C], or what `class_numbers` accepts; targets are class indexes
    [N, T]. A sequence counts by its number of steps.

    Args:
        ignore: A target that marks a step to leave out, such as padding.
        mask: A feature [N, T]; steps with the value 0 are left out. "" for none.
        classes: Number of classes, for predictions that are class indexes.
    """

    def __init__(self, ignore: int | None = -1, mask: str = "", classes: int = 0) -> None:
        self._ignore, self._mask, self._classes = ignore, mask, classes

    def sums(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Array:
        """Return the correct and the counted steps of each sequence."""
        predicted, actual, counted, _ = _compared(
            predictions, targets, features, self._ignore, self._mask, self._classes
        )
        correct = (predicted == actual) & counted
        return np.stack([correct.sum(axis=1), counted.sum(axis=1)], axis=1).astype(np.float64)


class MeanIoU(RatioOfSums):
    """The mean over classes of intersection divided by union, of the pixels of all images together.

    Predictions are the scores of the classes [N, H, W, C], or what `class_numbers` accepts; targets are class indexes
    [N, H, W] or [N, H, W, 1]. A class that occurs in no prediction and no target does not count (Everingham et al.
    2015, "The Pascal Visual Object Classes Challenge: A Retrospective", section 4.2).

    Args:
        ignore: A target that marks a pixel to leave out, such as 255.
        mask: A feature [N, H, W]; pixels with the value 0 are left out. "" for none.
        classes: Number of classes, for predictions that are class indexes.
    """

    def __init__(self, ignore: int | None = None, mask: str = "", classes: int = 0) -> None:
        self._ignore, self._mask, self._classes = ignore, mask, classes

    def sums(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Array:
        """Return the number of pixels of each image by class: in the intersections, then in the unions, [N, 2 C]."""
        predicted, actual, counted, classes = _compared(
            predictions, targets, features, self._ignore, self._mask, self._classes
        )
        both = _count(actual, counted & (predicted == actual), classes)
        union: Array = _count(predicted, counted, classes) + _count(actual, counted, classes) - both
        return np.concatenate([both, union], axis=1)

    def ratio(self, sums: Array) -> float:
        """Return the mean over the classes with a union."""
        classes = len(sums) // 2
        both, union = sums[:classes], sums[classes:]
        known = union > 0
        return float((both[known] / union[known]).mean()) if known.any() else float("nan")


class _OfOneClass(RatioOfSums):
    """A ratio of counts of one class against all others.

    Predictions and targets are as for `StepAccuracy`, with any number of steps or pixels, such as one for each example.

    Args:
        class_id: The class. If there is one score for each target, scores above `threshold` mean class 1.
        threshold: The threshold if there is one score for each target.
        ignore: A target that marks a step or pixel to leave out.
        mask: A feature; steps or pixels with the value 0 are left out. "" for none.
        classes: Number of classes, for predictions that are class indexes.
    """

    # Weights of counts: right predictions in the numerator; predictions and targets in the denominator.
    _counts: tuple[int, int, int]

    def __init__(
        self, class_id: int = 1, threshold: float = 0.5, ignore: int | None = -1, mask: str = "", classes: int = 0
    ) -> None:
        self._class, self._threshold = class_id, threshold
        self._ignore, self._mask, self._classes = ignore, mask, classes

    def sums(self, predictions: Arrays, targets: Arrays, features: Arrays) -> Array:
        """Return numerator and denominator of each example."""
        predicted, actual, counted, classes = _compared(
            predictions, targets, features, self._ignore, self._mask, self._classes, self._threshold
        )
        if not 0 <= self._class < classes:
            raise SpecError(
                "there is no such class",
                where="evaluate.metrics",
                bound=f"class_id from 0 to {classes - 1}",
                measured=self._class,
                remedy="correct `class_id` in the metric's config",
            )
        found, there = (predicted == self._class) & counted, (actual == self._class) & counted
        times, of_found, of_there = self._counts
        both = times * (found & there).sum(axis=1)
        return np.stack([both, of_found * found.sum(axis=1) + of_there * there.sum(axis=1)], axis=1).astype(np.float64)


class Precision(_OfOneClass):
    """The share of the predictions of a class that are right."""

    _counts = (1, 1, 0)


class Recall(_OfOneClass):
    """The share of the targets of a class that are predicted."""

    _counts = (1, 0, 1)


class F1(_OfOneClass):
    """The harmonic mean of precision and recall (van Rijsbergen 1979, "Information Retrieval", chapter 7)."""

    _counts = (2, 1, 1)


def _compared(
    predictions: Arrays,
    targets: Arrays,
    features: Arrays,
    ignore: int | None,
    mask: str,
    classes: int,
    threshold: float = 0.5,
) -> tuple[Array, Array, Array, int]:
    """Predicted and actual classes [N, M], which of them count, and the number of classes."""
    predicted, actual, classes = class_numbers(only(predictions, "output"), only(targets, "target"), classes, threshold)
    counted = mask_of(features, mask, actual.shape)
    if ignore is not None:
        counted = counted & (actual != ignore)
    check_classes(actual[counted], classes)
    return predicted, actual, counted, classes


def _count(values: Array, counted: Array, classes: int) -> Array:
    """How often each class occurs among the counted values of each example, float64 [N, classes]."""
    examples = np.broadcast_to(np.arange(len(values))[:, None], values.shape)
    found = np.bincount(examples[counted] * classes + values[counted], minlength=len(values) * classes)
    return found.reshape(len(values), classes).astype(np.float64)

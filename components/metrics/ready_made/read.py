"""Reads the arrays that a metric compares from the outputs, targets, and features of a batch. Pure functions."""

from __future__ import annotations

import difflib
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, SpecError, one_of
from components.metrics.accumulator import Arrays

Array = npt.NDArray[Any]


def only(named: Arrays, what: str) -> Array:
    """The single array of a metric that compares one output.

    Args:
        named: Arrays by name of the output.
        what: "output" or "target", for the message.

    Raises:
        SpecError: There are none, or several.
    """
    if not named and what == "target":
        raise SpecError(
            "this metric compares the output with a target, but there is none",
            where="evaluate.metrics",
            bound="a target",
            measured="none",
            remedy="return one from the task's targets(features), or specify the label in examples.label",
        )
    if len(named) != 1:
        raise SpecError(
            f"this metric compares one output, but there are {len(named)} {what}s",
            where="evaluate.metrics",
            bound=f"one {what}",
            measured=", ".join(named) or "none",
            remedy=f"name it with `output` in the metric, or correct the {what}s",
        )
    return np.asarray(next(iter(named.values())))


def named_array(named: Arrays, name: str, what: str) -> Array:
    """The array with a name.

    Args:
        named: Arrays by name.
        name: The name.
        what: "output", "target", or "feature", for the message.

    Raises:
        SpecError: It doesn't exist.
    """
    if name not in named:
        near = difflib.get_close_matches(name, named, 1)
        raise SpecError(
            f"there is no {what} {name!r}",
            where="evaluate.metrics",
            bound=one_of(named) or "none",
            measured=name,
            remedy=f"write {near[0]!r}" if near else f"choose one of the {what}s in the metric's config",
        )
    return np.asarray(named[name])


def mask_of(features: Arrays, name: str, shape: tuple[int, ...]) -> Array:
    """The mask in a feature as bool of the given shape [N, ...]: nonzero values count. Without a name, all values do.

    Raises:
        SpecError: The feature doesn't exist.
        DataError: It has a different number of values.
    """
    if not name:
        return np.ones(shape, bool)
    mask = named_array(features, name, "feature")
    if mask.size != np.prod(shape, dtype=np.int64):
        raise DataError(
            f"the mask {name!r} has a different shape than the values that it masks",
            where=name,
            bound=list(shape),
            measured=list(mask.shape),
            remedy="provide one mask value for each value that the metric compares",
        )
    return mask.reshape(shape) != 0


def class_numbers(predictions: Array, targets: Array, classes: int, threshold: float = 0.5) -> tuple[Array, Array, int]:
    """The predicted and the actual class of each step or pixel.

    Args:
        predictions: Scores of the classes [N, ..., C]; or of the second of two classes [N, ...] or [N, ..., 1], where
            more than the threshold means this class; or class indexes, integers [N, ...].
        targets: Class indexes [N, ...] or [N, ..., 1].
        classes: Number of classes, which class indexes as predictions need; 0 if unknown.
        threshold: See `predictions`.

    Returns:
        Both as int64 [N, M], and the number of classes.

    Raises:
        SpecError: The shapes don't match, or the number of classes is unknown.
        DataError: A score is NaN, or a predicted class index is out of range.
    """
    examples = len(predictions)
    actual = targets.reshape(examples, -1).astype(np.int64)
    if predictions.dtype.kind == "f" and np.isnan(predictions).any():
        raise DataError(
            f"{int(np.isnan(predictions).sum())} of {predictions.size} predictions are NaN, so they have no class",
            where="the model's output",
            remedy="find the layer in which the model computes NaN",
        )
    if predictions.size == targets.size:
        if predictions.dtype.kind == "f":
            return (predictions.reshape(actual.shape) > threshold).astype(np.int64), actual, 2
        return _indexes(predictions.reshape(actual.shape).astype(np.int64), classes), actual, classes
    if predictions.ndim > 1 and predictions.size == targets.size * predictions.shape[-1]:
        return predictions.reshape(*actual.shape, -1).argmax(axis=-1), actual, predictions.shape[-1]
    raise SpecError(
        "this metric compares a class index with an output per class, at each step or pixel",
        where="evaluate.metrics",
        bound="outputs [N, ..., classes] and targets [N, ...]",
        measured=f"outputs {list(predictions.shape)}, targets {list(targets.shape)}",
        remedy="correct the targets, or give the model an output for each class",
    )


def _indexes(predicted: Array, classes: int) -> Array:
    if not classes:
        raise SpecError(
            "the outputs are class indexes, so the number of classes is unknown",
            where="evaluate.metrics",
            bound="`classes` in the metric's config",
            remedy="write `config: {classes: 5}` with your number of classes",
        )
    wrong = predicted[(predicted < 0) | (predicted >= classes)]
    if wrong.size:
        raise DataError(
            "a predicted class index is not one of the classes",
            where="the model's output",
            bound=f"0 to {classes - 1}",
            measured=f"{wrong[0]} and {wrong.size - 1} more of {predicted.size}",
            remedy="correct `classes` in the metric's config, or the task's postprocess()",
        )
    return predicted

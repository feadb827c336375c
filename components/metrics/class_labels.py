"""Labels that are class indexes. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError

Array = npt.NDArray[Any]


def check_classes(labels: Array, classes: int) -> None:
    """Check that every label is a class index.

    Raises:
        DataError: A label is not a class index.
    """
    wrong = labels[(labels < 0) | (labels >= classes) | (labels != np.floor(labels))]
    if wrong.size:
        raise DataError(
            "a label is not one of the model's classes",
            where="label",
            bound=f"0 to {classes - 1}" + (", without fractions" if wrong.flat[0] != np.floor(wrong.flat[0]) else ""),
            measured=f"{wrong.flat[0]} and {wrong.size - 1} more of {labels.size}",
            remedy="use the metric `binary_accuracy`, which compares one output, or give the model one per class"
            if classes == 1
            else "correct the labels, or give the model an output for each class",
        )


def one_hot(labels: Array, classes: int) -> Array:
    """Class indexes [N, ...] as one-hot vectors, float32 [N, ..., classes].

    Raises:
        DataError: A label is not a class index.
    """
    check_classes(labels, classes)
    return (labels[..., None] == np.arange(classes)).astype(np.float32)

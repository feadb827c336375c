"""Labels that are numbers of classes. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError

Array = npt.NDArray[Any]


def check_classes(labels: Array, classes: int) -> None:
    """See that every label is the number of a class.

    Raises:
        DataError: One is not.
    """
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise DataError(
            "a label is none of the classes that the model tells apart",
            where="label",
            bound=f"0 to {classes - 1}",
            measured=f"{wrong.flat[0]} and {wrong.size - 1} more of {labels.size}",
            remedy="take the metric `binary_accuracy`, which compares one output, or give the model one for each class"
            if classes == 1
            else "correct the labels, or give the model an output for each class",
        )


def one_hot(labels: Array, classes: int) -> Array:
    """Of numbers of classes [N, ...], 1 for that class and 0 for all others, float32 [N, ..., classes].

    Raises:
        DataError: A label is none of the classes.
    """
    check_classes(labels, classes)
    return (labels[..., None] == np.arange(classes)).astype(np.float32)

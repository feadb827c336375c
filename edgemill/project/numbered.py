"""Labels that are numbers other than 0, 1, 2, ..., such as -1 and 1: whether they are classes, and their names."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from components.ingest.listing import number
from edgemill.project.found import Data, Options
from edgemill.project.unclear import UnclearError

Array = npt.NDArray[Any]
# More different numbers than this aren't classes.
MOST_CLASSES = 1_000
# Losses of models that answer with one of two classes, without underscores.
OF_TWO_CLASSES = frozenset({"binarycrossentropy", "binaryfocalcrossentropy", "hinge", "squaredhinge"})
# The outputs of a sigmoid, and of tanh.
_BOUNDS = ((0.0, 1.0), (-1.0, 1.0))


def numbers_in(labels: Iterable[Any]) -> tuple[float, ...]:
    """The different numbers among labels, sorted; empty if there are too many for classes, or some aren't finite."""
    found = {float(label) for label in labels}
    return tuple(sorted(found)) if len(found) <= MOST_CLASSES and all(map(math.isfinite, found)) else ()


def names_of(numbers: Iterable[float]) -> tuple[str, ...]:
    """The names of classes that are numbers."""
    return tuple(str(int(each)) if each.is_integer() else repr(each) for each in numbers)


def with_classes(data: Data) -> Data:
    """The same data with its numbers as the names of classes."""
    return data.model_copy(update={"classes": names_of(data.numbers), "label_type": "int64"})


def numbered(data: Data, outputs: int, options: Options) -> Data:
    """The same data, with classes if its numbers must be classes: the user lists them, or each has an output.

    `outputs` is the number of numbers that the model returns.
    """
    if data.classes or not data.numbers or options.objective == "values":
        return data
    if options.classes and all(number(name) is not None for name in options.classes):
        return with_classes(data)
    usual = data.numbers == tuple(range(outputs)) or set(data.numbers) < set(range(outputs))
    whole = all(map(float.is_integer, data.numbers))
    return with_classes(data) if outputs > 1 and len(data.numbers) == outputs and whole and not usual else data


def is_pair(numbers: tuple[float, ...]) -> bool:
    """Whether labels have two different values that aren't 0 and 1."""
    return len(numbers) == 2 and numbers != (0, 1)


def plain(loss: str) -> str:
    """The name of a loss in lower case, without underscores."""
    return loss.replace("_", "").lower()


def answers_with_classes(numbers: tuple[float, ...], outputs: Array, loss: str) -> bool:
    """Whether one output is the answer of a classifier if the labels have two values.

    Args:
        numbers: The two values.
        outputs: Outputs [N, ...], from all ranges of the input.
        loss: Name of the loss that the model was compiled with; "" if it is unknown.
    """
    if plain(loss) in OF_TWO_CLASSES:
        return True
    # No value between the bounds is a label, so a regression could not reach the labels.
    return numbers != (0, 1) and any(
        low <= outputs.min() and outputs.max() <= high and not any(low < each < high for each in numbers)
        for low, high in _BOUNDS
    )


def refuse_unclear(numbers: tuple[float, ...], label: str, outputs: Array) -> None:
    """Raise the UnclearError for an output whose meaning is unknown.

    Args:
        numbers: The two values of its label.
        label: Feature of the label.
        outputs: Its values for examples, [N, ...].
    """
    names = " and ".join(names_of(numbers))
    raise UnclearError(
        "it is not clear whether the model returns one of two classes, or a number",
        option="objective",
        question="What does the model return: two_classes or values (a number)?",
        default="two_classes",
        measured=f"labels {names} ({label}), and outputs from {np.min(outputs):.2f} to {np.max(outputs):.2f}",
        remedy="add `--objective two_classes` or `--objective values`",
    )

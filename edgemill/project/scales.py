"""Finds the range that a model's input was trained on: by its accuracy on labeled examples."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from components.core.errors import SpecError, counted, one_of, some_of
from components.data.ready_made import Objective
from edgemill.project.lists import listed
from edgemill.project.unclear import UnclearError

Array = npt.NDArray[Any]


class Scale(NamedTuple):
    """A range of a model's input.

    Attributes:
        name: Its name on the command line.
        scale, offset: The input is `value * scale + offset`.
    """

    name: str
    scale: float | tuple[float, ...]
    offset: float | tuple[float, ...]


class Trial(NamedTuple):
    """The quality of the model's results with a range.

    Attributes:
        scale: Name of the range.
        error: Share of wrong examples, or the mean absolute error.
        logits: Whether the outputs are logits.
        each: Mean absolute error of each number that the model returns; empty for classes and labels.
    """

    scale: str
    error: float
    logits: bool
    each: tuple[float, ...] = ()


def candidates(stored: str, values: Array, *, table: bool) -> list[Scale]:
    """The ranges that inputs of this type commonly have. `values` are examples [N, ...]."""
    raw = Scale("raw", 1.0, 0.0)
    if stored == "uint8":
        return [Scale("0..1", 1 / 255, 0.0), Scale("-1..1", 1 / 127.5, -1.0), raw._replace(name="0..255")]
    if stored == "int16":
        return [Scale("-1..1", 1 / 32768, 0.0), raw]
    if not table:
        return [raw]
    mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    deviation = np.where(deviation > 0, deviation, 1.0)
    columns = Scale("standardized", tuple((1 / deviation).tolist()), tuple((-mean / deviation).tolist()))
    return [raw, columns]


def choose(
    outputs: Mapping[str, Array],
    labels: Array,
    objective: Objective,
    wanted: str | None,
    classes: tuple[str, ...],
    *,
    columns: Sequence[str] = (),
) -> tuple[Trial, list[Trial]]:
    """Choose a range: the user's choice, or the one with which the model is most accurate.

    Args:
        outputs: Name of a range -> outputs [N, ...] for examples in this range.
        labels: Numbers of classes, or values, [N]; for several labels 0 and 1, [N, labels].
        objective: The objective of the model.
        wanted: Name of a range; None to choose by accuracy.
        classes: Names of the classes, for messages.
        columns: The columns of a table in the order of the input, for messages.

    Returns:
        The choice, and all trials.

    Raises:
        UnclearError: A different order of the classes fits better.
        SpecError: There is no such range; or no range gives results that are better than chance, or
            than the median of the labels.
    """
    if wanted is not None:
        refuse_range(wanted, outputs)
    trials = [trial_of(name, outputs[name], labels, objective) for name in outputs]
    if wanted is not None:
        return next(trial for trial in trials if trial.scale == wanted), trials
    best = min(trials, key=lambda trial: trial.error)
    if objective != "values":
        # Among ranges that are equally good, within a standard error, the first is the most common one.
        tolerated = max(np.sqrt(best.error * (1 - best.error) / len(labels)), 1 / len(labels))
        best = next(trial for trial in trials if trial.error <= best.error + tolerated)
        if objective != "labels":
            _refuse_other_order(best, outputs, labels, classes)
        refuse_chance(best, labels, trials, columns)
    else:
        refuse_constant(best, labels, trials, columns)
    return best, trials


def refuse_range(wanted: str, ranges: Iterable[str]) -> None:
    """Raise a SpecError for a range that isn't among the ranges of the examples."""
    if wanted in (known := tuple(ranges)):
        return
    raise SpecError(
        "there is no such range for these examples",
        where="--scale",
        bound=one_of(known),
        measured=wanted,
        remedy="choose one of them, or change `scale` and `offset` in task.py afterward",
    )


def trial_of(scale: str, outputs: Array, labels: Array, objective: Objective) -> Trial:
    """How well outputs [N, ...] in a range fit labels [N] or [N, ...]."""
    found = outputs.reshape(len(outputs), -1).astype(np.float64)
    if objective == "values":
        each = np.abs(found - labels.reshape(len(labels), -1)).mean(axis=0)
        return Trial(scale, float(each.mean()), logits=False, each=tuple(each.tolist()))
    if objective == "labels":
        return Trial(scale, float((_answers(found) != labels).mean()), bool(found.min() < 0 or found.max() > 1))
    labels = labels.reshape(len(labels))
    if objective == "two_classes":
        logits = bool(found.min() < 0 or found.max() > 1)
        chance = 1 / (1 + np.exp(-found[:, 0].clip(-500, 500))) if logits else found[:, 0]
        chances = np.stack([1 - chance, chance], axis=1)
    else:
        logits = bool(found.min() < 0 or np.abs(found.sum(axis=1) - 1).max() > 1e-3)
        chances = found
    return Trial(scale, float((chances.argmax(axis=1) != labels).mean()), logits)


def refuse_chance(best: Trial, labels: Array, trials: list[Trial], columns: Sequence[str] = ()) -> None:
    """Refuse results that are within two standard errors of always answering with the most common class.

    `columns` are those of a table, in the order of the input.
    """
    # Of several labels, the most common answer to each.
    most = (
        np.maximum(labels.mean(axis=0), 1 - labels.mean(axis=0)).mean()
        if labels.ndim > 1
        else np.bincount(labels.astype(int)).max() / len(labels)
    )
    least = most + 2 * np.sqrt(most * (1 - most) / len(labels))
    if 1 - best.error > least:
        return
    accuracies = ", ".join(f"{trial.scale}: {1 - trial.error:.2f}" for trial in trials)
    if least >= 1:
        raise SpecError(
            "all tried examples have the same label"
            if most == 1
            else "there are too few examples to tell whether the model is better than chance",
            where="--data",
            bound="examples of at least two classes" if most == 1 else "several hundred examples of all classes",
            measured=f"{counted(len(labels), 'example')}, {most:.0%} of them of one class; accuracy: {accuracies}",
            remedy="add examples of the other classes" + ("" if most == 1 else ", or choose a range with --scale"),
        )
    raise SpecError(
        "the model's outputs are no better than chance on these examples",
        where="--columns" if columns else "--scale",
        bound=f"an accuracy above {least:.2f} (the share of the most common class, and two standard errors)",
        measured=f"{accuracies}, on {len(labels)} examples",
        remedy=(
            f"list the columns in the order of the model's input with --columns (tried: {some_of(columns, 20)}), "
            if columns
            else ""
        )
        + "check that the model was trained on these classes, or choose a range with --scale if it is not trained",
    )


def refuse_constant(best: Trial, labels: Array, trials: list[Trial], columns: Sequence[str] = ()) -> None:
    """Refuse numbers of which one is worse than always answering with the median of its labels [N, ...].

    `columns` are those of a table, in the order of the input.
    """
    constants = np.abs(labels - np.median(labels, axis=0)).mean(axis=0).reshape(-1)
    several = len(constants) > 1
    # One of several numbers can be constant. Any error is then worse than the median.
    worse = [place for place, constant in enumerate(constants)
             if best.each[place] > constant and (constant or not several)]  # fmt: skip
    if not worse:
        return
    place = worse[0]
    errors = ", ".join(f"{trial.scale}: {trial.each[place]:.3g}" for trial in trials)
    raise SpecError(
        "the model's answers are worse than always answering with the median of the labels",
        where="--columns" if columns else "--scale",
        bound=f"a mean absolute error below {constants[place]:.3g}",
        measured=f"{errors}, on {counted(len(labels), 'example')}"
        + (f", for number {place + 1} of {len(constants)}" if several else ""),
        remedy=(
            f"list the columns in the order of the model's input with --columns (tried: {some_of(columns, 20)}), "
            if columns
            else ""
        )
        + ("check that the labels have the order of the model's outputs, " if several else "")
        + "check that the labels have the unit in which the model answers, or choose a range with --scale if the model "
        "is not trained",
    )


def _refuse_other_order(best: Trial, outputs: Mapping[str, Array], labels: Array, classes: tuple[str, ...]) -> None:
    """Refuse results that a different order of the classes improves by more than four standard errors."""
    right = 1 - best.error
    order: tuple[str, ...]
    places = labels.astype(int)
    for name, found in outputs.items():
        if found[:1].size == 1 and len(classes) == 2:
            # One output is the probability of the second class.
            accuracy, order = float((_answers(found) != places).mean()), classes[::-1]
        else:
            accuracy, order = _other_order(found.reshape(len(found), -1), places, classes)
        if accuracy > right + 4 * max(np.sqrt(right * (1 - right) / len(labels)), 1 / len(labels)):
            raise UnclearError(
                "the model's outputs are in a different order than the classes",
                option="classes",
                question="What is the order of the classes? The output of a model with one output is the chance of the "
                "second class."
                if len(classes) == 2
                else "What is the order of the classes?",
                default=listed(order),
                bound=listed(order),
                measured=f"{listed(classes)}: an accuracy of {right:.2f} instead of {accuracy:.2f} (range {name})",
                remedy=f"add `--classes {shlex.quote(listed(order))}`",
            )


def _answers(outputs: Array) -> Array:
    """The index (0 or 1) of the class that an output [N], or each of several [N, labels], represents; the same shape.

    An output is a logit, or the probability of the second class.
    """
    found = outputs.reshape(len(outputs)) if outputs[:1].size == 1 else outputs
    return (found > (0 if found.min() < 0 or found.max() > 1 else 0.5)).astype(int)


def _other_order(outputs: Array, places: Array, classes: tuple[str, ...]) -> tuple[float, tuple[str, ...]]:
    """The accuracy if each class has the output that is most common for it, and that order; 0 if two share it."""
    if not classes or outputs.shape[1] != len(classes):
        return 0.0, ()
    answers = outputs.argmax(axis=1)
    common = {place: int(np.bincount(answers[places == place]).argmax()) for place in np.unique(places).tolist()}
    if len({*common.values()}) < len(classes):
        return 0.0, ()
    of_output = {answer: place for place, answer in common.items()}
    accuracy = float(np.mean([of_output[answer] == place for answer, place in zip(answers, places, strict=True)]))
    return accuracy, tuple(classes[of_output[answer]] for answer in range(len(classes)))

"""Decides which label each of several outputs of a model is compared with, and which range of the inputs suits all."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import ModelError, counted, some_of
from components.core.values import FrozenModel
from components.data.ready_made import Objective, Stored
from edgemill.project.found import Data, Options
from edgemill.project.lists import listed
from edgemill.project.numbered import OF_TWO_CLASSES, answers_with_classes, is_pair, plain, refuse_unclear
from edgemill.project.objective import METRICS, refuse_near_labels, usual_max_loss
from edgemill.project.scales import Trial, refuse_chance, refuse_constant, refuse_range, trial_of
from edgemill.project.unclear import UnclearError

Array = npt.NDArray[Any]
CLASS_NAMES: dict[Objective, str] = {
    "classes": "SparseCategoricalAccuracy",
    "two_classes": "BinaryAccuracy",
    "labels": "BinaryAccuracy",
    "values": "MeanAbsoluteError",
}


class PlannedOutput(FrozenModel):
    """The label that an output is compared with.

    Attributes:
        label: Feature of its label.
        stored: Type of the label's values.
        shape: Shape of one label; () for a class number.
        objective: The objective of the output.
        logits: Whether it returns logits.
        metric: Name of its metric.
        max_loss: How much worse than the float model's metric a candidate can be.
        fact: The finding, in a sentence.
        scale, offset: The target is `label * scale + offset`.
    """

    label: str
    stored: Stored
    shape: tuple[int, ...]
    objective: Objective
    logits: bool
    metric: str
    max_loss: float
    fact: str
    scale: float = 1.0
    offset: float = 0.0


def labels_of_outputs(data: Data, sizes: Mapping[str, int]) -> dict[str, str]:
    """Output -> feature of its label: by name if the names match, otherwise in order.

    Raises:
        UnclearError: The number of labels isn't the number of outputs.
    """
    names = tuple(data.labels)
    if {*names} == sizes.keys():
        return {name: name for name in sizes}
    if len(names) == len(sizes):
        return dict(zip(sizes, names, strict=True))
    known = [name for name in (*names, data.label, *data.columns) if name]
    raise unclear_labels(known, tuple(sizes), some_of(names or ([data.label] if data.label else ())) or None)


def unclear_labels(known: Sequence[str], outputs: Sequence[str], found: object) -> UnclearError:
    """The error for several outputs whose labels are not known.

    Args:
        known: Columns or arrays that can be labels.
        outputs: Names of the outputs.
        found: The labels that were found, in words; None if there are none.
    """
    suggested = [name for name in outputs if name in known] if {*outputs} <= {*known} else known[-len(outputs) :]
    return UnclearError(
        "the model has several outputs, and each needs a label",
        option="label",
        question=f"Which ones are the labels of the outputs {', '.join(outputs)}, in this order?",
        default=listed(suggested),
        bound=f"{counted(len(outputs), 'label')}, one for each output: {', '.join(outputs)}",
        measured=found,
        remedy="list the columns or arrays in the order of the outputs, such as "
        f"`--label {shlex.quote(listed(suggested))}`; for labels that are neither numbers nor arrays, write a "
        "pipeline file and a task with `targets`: see docs/outputs.md",
    )


def planned_outputs(
    data: Data,
    sizes: Mapping[str, int],
    labels: Mapping[str, Array],
    outputs: Mapping[str, Mapping[str, Array]],
    options: Options,
    losses: Mapping[str, str],
) -> tuple[str, dict[str, PlannedOutput]]:
    """Choose the range with which all outputs are most accurate, and the label that each output is compared with.

    Args:
        data: The data.
        sizes: Output -> numbers that it returns for an example.
        labels: Output -> labels of N examples, [N] or [N, size].
        outputs: Name of a range -> output -> its values for these examples, [N, ...].
        options: The user's options.
        losses: Output -> name of its recorded loss; "" if it is unknown.

    Raises:
        UnclearError: It isn't clear whether an output is the answer of a classifier or a number.
        ModelError: An output doesn't fit its label.
        SpecError: There is no such range, or an output is not better than chance, or
            than the median of its labels, in any range.
    """
    named = labels_of_outputs(data, sizes)
    answers = {
        name: np.concatenate([found[name].reshape(len(labels[name]), -1) for found in outputs.values()])
        for name in sizes
    }
    pairs = {name: _pair(labels[name], answers[name], named[name], losses.get(name, ""), options) for name in sizes}
    labels = {name: labels[name] * scale + offset for name, (scale, offset) in pairs.items()}
    objectives = {name: _objective(name, size, labels[name], named[name]) for name, size in sizes.items()}
    if options.objective == "values":
        for name, pair in pairs.items():
            unchanged = objectives[name] == "two_classes" and pair == (1.0, 0.0)
            if unchanged and _may_be_number(answers[name], losses.get(name, "")):
                objectives[name] = "values"
    trials = {
        name: [trial_of(scale, found[name], labels[name], objective) for scale, found in outputs.items()]
        for name, objective in objectives.items()
    }
    if options.scale is not None:
        refuse_range(options.scale, outputs)
        chosen = options.scale
    else:
        sums = {
            scale: sum(_relative(trials[name][place], labels[name], objectives[name]) for name in sizes)
            for place, scale in enumerate(outputs)
        }
        chosen = min(sums, key=lambda scale: sums[scale])
    planned = {}
    for name, size in sizes.items():
        trial = next(each for each in trials[name] if each.scale == chosen)
        objective = objectives[name]
        if options.scale is None:
            refuse_poor = refuse_constant if objective == "values" else refuse_chance
            refuse_poor(trial, labels[name], trials[name], tuple(data.columns) if data.is_table else ())
        if objective == "two_classes" and pairs[name] == (1.0, 0.0) and options.objective is None and trial.logits:
            refuse_near_labels((0.0, 1.0), named[name], outputs[chosen][name], losses.get(name, ""))
        measure = "a mean absolute error of" if objective == "values" else "a share of wrong answers of"
        planned[name] = PlannedOutput(
            label=named[name],
            stored=data.labels[named[name]],
            shape=() if objective == "classes" else (size,),
            objective=objective,
            logits=trial.logits,
            metric=f"{re.sub(r'[^a-z0-9_]+', '_', name.lower()).strip('_') or 'output'}_{METRICS[objective]}",
            max_loss=usual_max_loss(objective, labels[name]) if options.max_loss is None else options.max_loss,
            fact=f"output {name}: {objective}, with the label {named[name]} and {measure} {trial.error:.3f}",
            scale=pairs[name][0],
            offset=pairs[name][1],
        )
    return chosen, planned


def _pair(labels: Array, answers: Array, label: str, loss: str, options: Options) -> tuple[float, float]:
    """The scale and offset that turn the labels [N] of two classes, such as -1 and 1, into 0 and 1.

    `answers` are the values [M, size] of their output in all ranges. Numbers that aren't classes stay as they are.

    Raises:
        UnclearError: It isn't clear whether they are classes.
    """
    found = tuple(np.unique(labels.astype(np.float64)).tolist())
    if labels.ndim > 1 or answers.shape[1] > 1 or not is_pair(found):
        return 1.0, 0.0
    if not answers_with_classes(found, answers, loss):
        if options.objective is None:
            refuse_unclear(found, label, answers)
        if options.objective != "two_classes":
            return 1.0, 0.0
    low, high = found
    return 1 / (high - low), -low / (high - low)


def _may_be_number(answers: Array, loss: str) -> bool:
    """Whether an output whose labels are 0 and 1 can be a number, because it is not always a probability."""
    return bool(answers.min() < 0 or answers.max() > 1) and plain(loss) not in OF_TWO_CLASSES


def _objective(name: str, size: int, labels: Array, label: str) -> Objective:
    """The objective of an output of this size."""
    several = labels.ndim > 1 and labels[:1].size > 1
    binary = bool(((labels == 0) | (labels == 1)).all())
    if several and labels.shape[1] == size:
        return "labels" if binary else "values"
    if not several and size == 1:
        return "two_classes" if binary else "values"
    whole = bool((labels == np.floor(labels)).all() and labels.min() >= 0)
    if not several and whole and labels.max() < size:
        return "classes"
    raise ModelError(
        "the labels do not match the output of the model",
        where=f"--model, output {name}",
        bound=f"a class number below {size}, or {size} numbers for each example" if size > 1 else "one number",
        measured=f"{label}: {' x '.join(map(str, labels.shape[1:]))} for each example" if several
        else f"{label}: from {labels.min():g} to {labels.max():g}",
        remedy="list the labels in the order of the outputs with --label",
    )  # fmt: skip


def _relative(trial: Trial, labels: Array, objective: Objective) -> float:
    """The error as a share of answers, or of the labels' standard deviation."""
    return trial.error if objective != "values" else trial.error / (float(labels.std(axis=0).mean()) or 1.0)

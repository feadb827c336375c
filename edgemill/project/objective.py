"""Determines the objective of a model from its outputs and the labels, and the metrics for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, EdgemillError, ModelError, SpecError, counted, one_of, some_of
from components.core.values import FrozenModel
from components.data.ready_made import Objective
from edgemill.project.found import Data, Options
from edgemill.project.inputs import ModelInput
from edgemill.project.numbered import OF_TWO_CLASSES, answers_with_classes, plain, refuse_unclear
from edgemill.project.unclear import UnclearError

Array = npt.NDArray[Any]
_MAX_DROP = 0.02
# Number of tried examples with and without each label, so that the evaluation split has some of both.
_RANKED = 40
METRICS: dict[Objective, str] = {
    "classes": "accuracy",
    "two_classes": "binary_accuracy",
    "labels": "binary_accuracy",
    "values": "mean_absolute_error",
}
# A fraction of the labels' standard deviation.
_MAX_RISE = 0.05


class Model(FrozenModel):
    """The inputs and the output of a model.

    Attributes:
        inputs: Name of an input -> the input.
        outputs: Numbers in one output.
        output: Name of the output.
        sizes: Name of each of several outputs -> numbers in it; empty if there is one.
        losses: Output -> name of the loss that it was compiled with; "" if it is unknown.
    """

    inputs: dict[str, ModelInput]
    outputs: int
    output: str = ""
    sizes: dict[str, int] = {}
    losses: dict[str, str] = {}

    @property
    def loss(self) -> str:
        """The loss of the only output."""
        return self.losses.get(self.output, "")


def _of_several(model: Model, data: Data, labels: Array, options: Options) -> Objective:
    """The objective for several labels [N, labels]: `labels` for 0 and 1, otherwise `values`."""
    if options.objective not in {None, "labels", "values"}:
        raise SpecError(
            "the examples have several labels each",
            where="--objective",
            bound="labels or values",
            measured=options.objective,
            remedy="omit the option, or name one label with --label",
        )
    if model.outputs != labels.shape[1]:
        raise ModelError(
            "the labels do not match the model's outputs",
            where="--model",
            bound=f"{counted(labels.shape[1], 'output')}, one for each label: {', '.join(data.labels)}",
            measured=counted(model.outputs, "output"),
            remedy="list the labels of the model with --label, in the order of its outputs",
        )
    if options.objective == "values":
        return "values"
    wrong = labels[(labels != 0) & (labels != 1)]
    if not (data.not_binary or wrong.size):
        return "labels"
    # Two values, such as -1 and 1, are more likely to be answers to yes-or-no questions than numbers.
    if options.objective == "labels" or plain(model.loss) in OF_TWO_CLASSES or len(np.unique(labels)) == 2:
        _refuse_other_than_binary(data, wrong)
    return "values"


def refuse_out_of_reach(data: Data, labels: Array, outputs: Array) -> None:
    """Refuse whole numbers as the labels of a model that returns chances, such as a 2 by mistake among 0 and 1.

    Args:
        data: The data.
        labels: The labels [N, labels].
        outputs: The outputs in all ranges of the input, [M, labels].
    """
    wrong = labels[(labels != 0) & (labels != 1)]
    if wrong.size and _whole(labels) and outputs.min() >= 0 and outputs.max() <= 1:
        _refuse_other_than_binary(data, wrong)


def _refuse_other_than_binary(data: Data, wrong: Array) -> None:
    raise DataError(
        "the labels have several numbers for each example, and not all are 0 or 1",
        where="--data",
        bound="0 or 1 for each label, because the model seems to return an answer for each",
        measured=data.not_binary or f"{', '.join(data.labels)}: {wrong[0]:g}",
        remedy="save these labels as 0 and 1; or, if the model returns numbers, add `--objective values`",
    )


def objective_of(model: Model, data: Data, classes: tuple[str, ...], labels: Array, options: Options) -> Objective:
    """Determine the objective of the model. Raises a ModelError if its outputs don't fit the labels."""
    if data.labels:
        return _of_several(model, data, labels, options)
    if options.objective is not None and not (options.objective == "values" and classes):
        possible = ("two_classes", "values") if model.outputs == 1 else ("classes",)
        if options.objective not in possible:
            raise SpecError(
                "the model's output does not fit this objective",
                where="--objective",
                bound=f"{one_of(possible)}, because it returns {counted(model.outputs, 'number')}",
                measured=options.objective,
                remedy="choose one of them, or omit the option",
            )
        if options.objective == "values":
            return "values"
    count = len(classes)
    whole = _whole(labels) and labels.min() >= 0
    if model.outputs == 1:
        found = data.numbers or tuple(np.unique(labels).tolist())
        if count == 2 or (not count and len(found) == 2):
            return "two_classes"
        if options.objective == "two_classes" and not count:
            raise DataError(
                "the labels are not those of two classes",
                where="--objective",
                bound="labels with two different values",
                measured=f"{data.label}: {len(found):,} different values",
                remedy="omit the option, or choose another label with --label",
            )
        if not count:
            return "values"
    elif model.outputs == count or (not count and whole and labels.max() < model.outputs):
        return "classes"
    raise _mismatch(model, data, classes, labels)


def _whole(labels: Array) -> bool:
    return bool((labels == np.floor(labels)).all())


def _mismatch(model: Model, data: Data, classes: tuple[str, ...], labels: Array) -> EdgemillError:
    """The error for labels that a model has no outputs for, or too many outputs."""
    found, outputs = np.unique(labels), model.outputs
    other = f"; if {data.label!r} is not the label, set --label" if data.kind not in {"images", "audio"} else ""
    if classes and outputs > len(classes):
        return UnclearError(
            "the model has more outputs than the examples have classes",
            option="classes",
            question="What are the classes of all outputs, in their order? Some can have no examples.",
            bound=f"{outputs} classes, in the order of the model's outputs",
            measured=f"{len(classes)}: {some_of(classes, 20)}",
            remedy=f"list the {outputs} classes of the model with --classes, in the order of its outputs, even those "
            f"without examples; or add their examples{other}",
        )
    if not classes and (not _whole(labels) or len(found) <= outputs):
        return DataError(
            "the labels are not the numbers of the model's outputs",
            where="--data",
            bound=f"whole numbers from 0 to {outputs - 1}",
            measured=f"{data.label}: {some_of((f'{each:g}' for each in found), 10)}",
            remedy=f"number the classes from 0 to {outputs - 1}, in the order of the model's outputs{other}",
        )
    return ModelError(
        "the labels do not match the model's outputs",
        where="--model",
        bound=f"{len(classes)} outputs, one for each class: {some_of(classes, 20)}"
        if classes
        else f"an output for each label from {labels.min():g} to {labels.max():g}",
        measured=counted(outputs, "output"),
        remedy=f"remove the folders or rows of classes that the model does not know, or choose another model{other}",
    )


def metrics_of(objective: Objective, labels: Array) -> tuple[str, ...]:
    """The metrics of an objective. Rare labels hardly affect the accuracy, but they do affect the mean AUC."""
    rarest = min(labels.sum(axis=0).min(), (1 - labels).sum(axis=0).min()) if objective == "labels" else 0
    return (METRICS[objective], *(["auc"] if rarest >= _RANKED else []))


def usual_max_loss(objective: Objective, labels: Array) -> float:
    """The default for how much worse a candidate can be. Of several numbers [N, ...], the deviation is averaged."""
    return float(f"{_MAX_RISE * labels.std(axis=0).mean():.2g}") if objective == "values" else _MAX_DROP


def hidden_numbers(labels: Array, names: Sequence[str], max_loss: float) -> tuple[str, ...]:
    """Warn of numbers that vary less than the bound on the mean error of all, so that it hardly shows their errors.

    Args:
        labels: Several numbers of each example, [N, numbers].
        names: Their features: one for each, or one for all.
        max_loss: The bound.
    """
    deviations = labels.std(axis=0)
    each = names if len(names) == len(deviations) else [f"number {place + 1}" for place in range(len(deviations))]
    hidden = [name for name, deviation in zip(each, deviations, strict=True) if 0 < deviation < max_loss]
    if not hidden:
        return ()
    return (
        f"the mean absolute error of all labels hardly shows errors in {some_of(hidden)}, which vary by less than its "
        f"bound, {max_loss:g}; train the model on labels of similar sizes",
    )


def refuse_near_labels(numbers: tuple[float, ...], label: str, outputs: Array, loss: str) -> None:
    """Refuse to guess the meaning of outputs that look like neither probabilities nor logits, without a loss.

    `numbers` are the two values of the label.
    """
    if outputs.min() >= -1 and outputs.max() <= 2 and not answers_with_classes((0, 1), outputs, loss):
        refuse_unclear(numbers, label, outputs)

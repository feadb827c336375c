"""Decides how examples become inputs of a model, and measures how well the result does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from components.core.errors import EdgemillError, SpecError, counted, some_of
from components.core.values import FrozenModel
from components.data.ready_made import Objective
from edgemill.project.flags import with_options
from edgemill.project.found import Data, Options
from edgemill.project.inputs import PlannedInput, match, with_ranges
from edgemill.project.lists import nearest
from edgemill.project.numbered import answers_with_classes, is_pair, numbered, refuse_unclear, with_classes
from edgemill.project.objective import (
    Model,
    hidden_numbers,
    metrics_of,
    objective_of,
    refuse_near_labels,
    refuse_out_of_reach,
    usual_max_loss,
)
from edgemill.project.scales import choose
from edgemill.project.several_outputs import PlannedOutput, labels_of_outputs, planned_outputs
from edgemill.project.standardized import coarse_columns
from edgemill.project.tried import read_tried
from pipelines.checks.examples.made import untested
from pipelines.file.spec import Examples

Array = npt.NDArray[Any]


class Plan(FrozenModel):
    """The plan from which the pipeline and the task are written.

    Attributes:
        data: The data.
        examples: The section `examples`, without `path`.
        inputs: Name of an input of the model -> the features that it is made from.
        output: Name of the model's output.
        outputs: Name of each of several outputs -> the label that it is compared with; empty if there is only one
            output.
        targets: Shape of the labels of one example, if there are several; otherwise ().
        objective: The objective of the model.
        metrics: Names of the metrics, the main one first.
        range: Name of the range of the inputs.
        logits: Whether the outputs are logits.
        max_loss: How much worse than the float model's metric a candidate can be.
        input_shapes: The shape from the user for open dimensions.
        coarse: Input that takes a table -> its columns that int8 loses (`edgemill.project.standardized`).
        standardized: Whether a copy of the model is used, without the layer that standardizes its input.
        facts: The findings, in sentences.
        warnings: Recommended changes, in sentences.
    """

    data: Data
    examples: dict[str, Any]
    inputs: dict[str, PlannedInput]
    output: str = ""
    outputs: dict[str, PlannedOutput] = {}
    targets: tuple[int, ...] = ()
    objective: Objective
    metrics: tuple[str, ...]
    range: str
    logits: bool
    max_loss: float
    input_shapes: dict[str, tuple[int, ...]] = {}
    coarse: dict[str, dict[str, float]] = {}
    standardized: bool = False
    facts: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def plan(data: Data, model: Model, options: Options, run: Callable[[dict[str, Array]], dict[str, Array]]) -> Plan:
    """Match data and a model.

    Args:
        data: The data.
        model: The model.
        options: The user's options.
        run: Runs the model: from input -> values [N, ...] to output -> values [N, ...].

    Raises:
        ModelError: The model's input or output doesn't fit the data.
        UnclearError: Only the user can decide something.
        SpecError, DataError: An option is wrong, or the data can't be read.
    """
    data = data if model.sizes else numbered(data, model.outputs, options)
    classes = _classes(data, options)
    without = [name for name in classes if name not in data.classes]
    if model.sizes:
        labels_of_outputs(data, model.sizes)
    media, inputs = match(data, model.inputs, options)
    used = [name for each in inputs.values() for name in each.features]
    label = {} if data.labels else {"label": data.label}
    section = {"kind": data.kind, **_fields(data, used), **media, "splits": data.splits, **label}
    if classes:
        section["classes"] = list(classes)
    examples: Any = TypeAdapter(Examples).validate_python({**section, "path": str(data.folder.resolve())})
    features = {name: stored for each in inputs.values() for name, stored in each.features.items()}
    try:
        columns, labels = read_tried(data, examples, classes, {**features, **data.labels})
    except EdgemillError as error:
        raise with_options(error) from error
    if data.labels and not model.sizes:
        labels = _joined([columns[name] for name in data.labels]).reshape(len(next(iter(columns.values()))), -1)
    objective = None if model.sizes else objective_of(model, data, classes, labels, options)
    values = {name: _joined([columns[feature] for feature in each.features]) for name, each in inputs.items()}
    inputs = {name: with_ranges(each, values[name], table=data.is_table) for name, each in inputs.items()}
    ranges = max((each.ranges for each in inputs.values()), key=len)
    answers = {
        name: run({own: each.scaled(values[own], name) for own, each in inputs.items()})
        for name in [each.name for each in ranges]
    }
    if objective == "two_classes" and not classes and is_pair(data.numbers):
        labels, data = _of_pair(labels, data, model, answers, options)
        classes = data.classes
        section["classes"] = list(classes)
    shared: dict[str, Any] = {"data": data, "examples": section, "inputs": inputs}
    ignored = [*(name for name in data.columns if name not in used), *data.unusable]
    unread = [f"the model does not read {some_of(ignored, 10)}"] if ignored else []
    if objective is None:
        held = {output: columns[label] for output, label in labels_of_outputs(data, model.sizes).items()}
        own = {name: each if each[:1].size > 1 else each.reshape(len(each)) for name, each in held.items()}
        chosen, planned = planned_outputs(data, model.sizes, own, answers, options, model.losses)
        return Plan(
            **shared,
            outputs=planned,
            objective=next(iter(planned.values())).objective,
            metrics=tuple(each.metric for each in planned.values()),
            range=chosen,
            logits=False,
            max_loss=next(iter(planned.values())).max_loss,
            coarse=_coarse(data, inputs, values, chosen),
            facts=(
                f"{counted(data.count, 'example')} of the kind `{data.kind}`",
                f"the model takes {_taken(inputs)}, and has the outputs {some_of(model.sizes)}",
                *(each.fact for each in planned.values()),
                f"input range {chosen}, which has the lowest errors",
                *unread,
            ),
            warnings=data.warnings,
        )
    if objective in {"classes", "two_classes"} and not classes:
        section["num_classes"] = max(2, model.outputs)
    outputs = {name: next(iter(found.values())) for name, found in answers.items()}
    if objective == "values" and data.labels and options.objective is None:
        refuse_out_of_reach(data, labels, np.concatenate([*outputs.values()]))
    order = used if data.is_table else ()
    trial, trials = choose(outputs, labels, objective, options.scale, classes, columns=order)
    if objective == "two_classes" and not classes and options.objective is None and trial.logits:
        refuse_near_labels(data.numbers or (0.0, 1.0), data.label, outputs[trial.scale], model.loss)
    measure = "mean absolute error" if objective == "values" else "share of wrong answers"
    asked = f", with the labels {some_of(data.labels)}" if data.labels else ""
    tried = ", ".join(f"{each.scale}: {each.error:.3f}" for each in trials)
    facts = (
        f"{counted(data.count, 'file' if data.kind in {'images', 'audio'} else 'example')} of the kind `{data.kind}`"
        + (f" in {len(data.classes)} classes: {some_of(data.classes, 10)}" if classes else "")
        + asked,
        f"the model takes {_taken(inputs)}, and returns {counted(model.outputs, 'number')}",
        f"input range {trial.scale}, which has the lowest {measure} on {len(labels)} examples ({tried})"
        if len(trials) > 1
        else f"the input takes the values without scaling, with a {measure} of {trial.error:.3f} on {len(labels)} "
        "examples",
        *unread,
    )
    max_loss = usual_max_loss(objective, labels) if options.max_loss is None else options.max_loss
    return Plan(
        **shared,
        output=model.output,
        targets=labels.shape[1:],
        objective=objective,
        metrics=metrics_of(objective, labels),
        range=trial.scale,
        logits=trial.logits,
        max_loss=max_loss,
        coarse=_coarse(data, inputs, values, trial.scale),
        facts=facts,
        warnings=(
            *data.warnings,
            *([untested(without)] if without else []),
            *(hidden_numbers(labels, [*data.labels], max_loss) if objective == "values" and data.labels else ()),
        ),
    )


def _of_pair(
    labels: Array, data: Data, model: Model, answers: Mapping[str, Mapping[str, Array]], options: Options
) -> tuple[Array, Data]:
    """Labels with two values as the numbers of their classes, and the data with these classes.

    Raises:
        UnclearError: It is not clear whether the model answers with one of two classes.
    """
    found = np.concatenate([next(iter(outputs.values())).ravel() for outputs in answers.values()])
    if options.objective is None and not answers_with_classes(data.numbers, found, model.loss):
        refuse_unclear(data.numbers, data.label, found)
    return (labels == data.numbers[1]).astype(np.float64), with_classes(data)


def _taken(inputs: Mapping[str, PlannedInput]) -> str:
    several = len(inputs) > 1
    return ", ".join(
        (f"{name}: " if several else "") + f"{each.size} {each.dtype} {'value' if each.size == '1' else 'values'}"
        for name, each in inputs.items()
    )


def _coarse(
    data: Data, inputs: Mapping[str, PlannedInput], values: Mapping[str, Array], scale: str
) -> dict[str, dict[str, float]]:
    """The columns of each input that int8 loses."""
    if not data.is_table:
        return {}
    found = {
        name: coarse_columns(list(each.features), each.scaled(values[name], scale).reshape(len(values[name]), -1))
        for name, each in inputs.items()
    }
    return {name: columns for name, columns in found.items() if columns}


def _fields(data: Data, used: list[str]) -> dict[str, Any]:
    """The fields of the data, with the names of the arrays that are used."""
    if "names" not in data.fields:
        return data.fields
    names = {name: array for name, array in data.fields["names"].items() if name in {*used, data.label, *data.labels}}
    return {**data.fields, "names": names}


def _joined(columns: list[Array]) -> Array:
    """Examples [N, ...] of one feature, or of several columns as [N, columns]."""
    joined = columns[0] if len(columns) == 1 else np.stack([column.reshape(len(column)) for column in columns], axis=1)
    return joined.astype(np.float32)


def _classes(data: Data, options: Options) -> tuple[str, ...]:
    """The classes in the order of the outputs, of which some can have no examples."""
    chosen = options.classes or data.classes
    if repeated := [name for name, count in Counter(chosen).items() if count > 1]:
        raise SpecError(
            f"classes are listed twice: {some_of(repeated)}",
            where="--classes",
            remedy="list each class once, in the order of the model's outputs",
        )
    if lacking := [name for name in data.classes if name not in chosen] if data.classes else chosen:
        near = [found for name in lacking if data.classes and (found := nearest(name, chosen)) is not None]
        raise SpecError(
            "these are not the classes of the examples",
            where="--classes",
            bound=some_of(data.classes, 50) or "nothing: the labels are numbers",
            measured=some_of(chosen, 50),
            remedy=f"list all classes, in the order of the model's outputs; there is no {some_of(lacking)}"
            + (f", but {some_of(near)}" if near else "")
            if data.classes
            else "omit the option",
        )
    return chosen

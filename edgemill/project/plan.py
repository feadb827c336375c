"""Decides how examples become inputs of a model, and how well the result does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from components.core.errors import ModelError, SpecError, counted, some_of
from components.core.values import FrozenModel
from components.data.ready_made import Objective, Stored
from components.ingest.arrays import open_arrays
from components.ingest.listing import class_number
from components.ingest.sources import matching
from components.spec.examples import AUDIO, IMAGE
from edgemill.project.found import Data, Options
from edgemill.project.scales import Scale, candidates, choose
from pipelines.checks.examples.made import sampled
from pipelines.checks.first_records import files_by_split
from pipelines.file.spec import ArrayExamples, Examples

Array = npt.NDArray[Any]
# Examples of all splits that the model is tried on.
_TRIED = 400


class Model(FrozenModel):
    """The input and the output of a model.

    Attributes:
        input_shape: Shape of one example; None for open dimensions.
        dtype: Type of the input.
        outputs: Numbers in one output.
    """

    input_shape: tuple[int | None, ...]
    dtype: str
    outputs: int


class Plan(FrozenModel):
    """What the pipeline and the task are written from.

    Attributes:
        data: The data.
        examples: The section `examples`, without `path`.
        features: Feature -> type of its values.
        shape: Shape of one example of the input.
        dtype: Type of the input.
        objective: What the model does.
        scale: Range of the input.
        logits: Whether the outputs are logits.
        spread: Standard deviation of the labels, for regression.
        input_shapes: The shape that the user gives to open dimensions.
        facts: What was found out, in sentences.
    """

    data: Data
    examples: dict[str, Any]
    features: dict[str, Stored]
    shape: tuple[int, ...]
    dtype: str
    objective: Objective
    scale: Scale
    logits: bool
    spread: float
    input_shapes: dict[str, tuple[int, ...]] = {}
    facts: tuple[str, ...]


def plan(data: Data, model: Model, options: Options, run: Callable[[Array], Array]) -> Plan:
    """Match data and a model.

    Args:
        data: The data.
        model: The model.
        options: What the user says.
        run: Inputs [N, ...] -> outputs [N, ...].

    Raises:
        ModelError: The model's input or output doesn't fit the data.
        SpecError, DataError: An option is wrong, or the data can't be read.
    """
    shape = _shape(model, options)
    classes = _classes(data, options)
    media, features = _input(data, shape)
    section = {"kind": data.kind, **data.fields, **media, "splits": data.splits, "label": data.label}
    if classes:
        section["classes"] = list(classes)
    examples: Any = TypeAdapter(Examples).validate_python({**section, "path": str(data.folder.resolve())})
    values, labels = _read(data, examples, classes, features)
    objective = _objective(model, data, classes, labels)
    if objective == "classes" and not classes:
        section["num_classes"] = model.outputs
    elif objective == "two_classes" and not classes:
        section["num_classes"] = 2
    values = values.reshape(len(values), *shape).astype(np.float32)
    stored = next(iter(features.values()))
    ranges = candidates(stored, values.reshape(len(values), -1), table=data.kind == "csv")
    if data.kind == "csv" and len(shape) > 1:
        ranges = ranges[:1]
    trial, trials = choose(
        lambda scaled: run(scaled.astype(model.dtype)), values, labels, ranges, objective, options.scale, classes
    )
    measure = "mean absolute error" if objective == "values" else "share of wrong answers"
    tried = ", ".join(f"{each.scale.name}: {each.error:.3f}" for each in trials)
    facts = (
        f"{counted(data.count, 'example' if data.kind in {'csv', 'arrays'} else 'file')} of the kind `{data.kind}`"
        + (f" in {len(classes)} classes: {some_of(classes, 10)}" if classes else ""),
        f"the model takes {_size(shape)} of {model.dtype}, and returns {counted(model.outputs, 'number')}",
        f"input range {trial.scale.name}, chosen by the {measure} on {len(values)} examples ({tried})",
    )
    return Plan(
        data=data,
        examples=section,
        features=features,
        shape=shape,
        dtype=model.dtype,
        objective=objective,
        scale=trial.scale,
        logits=trial.logits,
        spread=float(labels.std()),
        facts=facts,
    )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _shape(model: Model, options: Options) -> tuple[int, ...]:
    given, own = options.input_shape, model.input_shape
    if given and (
        len(given) != len(own) or any(size not in {None, wanted} for size, wanted in zip(own, given, strict=True))
    ):
        raise SpecError(
            "this is not a shape of the model's input",
            where="--input-shape",
            bound=_open(own),
            measured=",".join(map(str, given)),
            remedy="correct it; only open dimensions (?) can be chosen",
        )
    shape = given or own
    if None in shape:
        raise SpecError(
            "the model's input has open dimensions",
            where="--input-shape",
            bound=_open(own),
            remedy="choose them, such as `--input-shape 96,96,3`",
        )
    return tuple(size for size in shape if size is not None)


def _open(shape: tuple[int | None, ...]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape)


def _classes(data: Data, options: Options) -> tuple[str, ...]:
    if options.classes and set(options.classes) != set(data.classes):
        raise SpecError(
            "these are not the classes of the examples",
            where="--classes",
            bound=some_of(data.classes, 50) or "nothing: the labels are numbers",
            measured=some_of(options.classes, 50),
            remedy="list all of them, in the order of the model's outputs",
        )
    return options.classes or data.classes


def _input(data: Data, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Stored]]:
    """The fields of media that follow from the input's shape, and the features of the input."""
    if data.kind == "images":
        height, width, channels = shape if len(shape) == 3 else (*shape, 1) if len(shape) == 2 else (0, 0, 0)
        if channels not in {1, 3} or min(height, width) < 2:
            raise ModelError(
                "the model's input cannot be an image",
                where="--model",
                bound="height x width x 1 (gray) or 3 (color), with the channels last",
                measured=_size(shape),
                remedy="save a model that takes images so (a `Permute` or `Reshape` layer can come first), or write a "
                "pipeline file and a task",
            )
        return {"size": [height, width], "channels": channels}, {IMAGE: "uint8"}
    if data.kind == "audio":
        sizes = [size for size in shape if size != 1]
        if len(sizes) != 1:
            raise ModelError(
                "the model's input cannot be a sound",
                where="--model",
                bound="one dimension of samples",
                measured=_size(shape),
                remedy="put the computation of the spectrogram into the model, or write it into `decode` of a task",
            )
        return {"samples": sizes[0]}, {AUDIO: "int16"}
    if data.kind == "csv" and int(np.prod(shape)) != len(data.columns):
        raise ModelError(
            "the model takes another number of values than the table has columns",
            where="--columns",
            bound=f"{counted(int(np.prod(shape)), 'column')}, in the order of the model's input",
            measured=f"{counted(len(data.columns), 'column')}: {some_of(data.columns, 20)}",
            remedy="choose the columns with --columns",
        )
    return {}, {**data.columns}


def _read(data: Data, examples: Any, classes: tuple[str, ...], features: dict[str, Stored]) -> tuple[Array, Array]:
    """Up to `_TRIED` examples from all splits, and their labels as numbers."""
    values: list[Array] = []
    labels: list[Any] = []
    if data.kind == "csv":
        import csv

        rows: list[dict[str, str]] = []
        for _, files in files_by_split(examples):
            for file in files:
                with file.open(encoding="utf-8-sig", newline="") as lines:
                    rows += csv.DictReader(lines)
        for row in rows[:: max(1, len(rows) // _TRIED)][:_TRIED]:
            values.append(np.array([float(row[name]) for name in features]))
            labels.append(row[data.label])
    elif isinstance(examples, ArrayExamples):
        [(name, _)] = features.items()
        for split, pattern in examples.patterns.items():
            arrays = open_arrays(examples, matching(Path(examples.path), [pattern]), split or "", data.label)
            step = max(1, len(arrays[name]) * len(examples.patterns) // _TRIED)
            values += list(arrays[name][::step])
            labels += arrays[data.label][::step].reshape(-1).tolist()
    else:
        [(name, stored)] = features.items()
        found = [row for sample in sampled(examples, _TRIED) for row in sample.rows]
        values = [np.frombuffer(row[name], stored) for row in found]
        return np.stack(values), np.array([row[data.label] for row in found], np.float64)
    if classes:
        labels = [class_number(label, classes, "--data") for label in labels]
    return np.stack(values), np.array(labels, np.float64)


def _objective(model: Model, data: Data, classes: tuple[str, ...], labels: Array) -> Objective:
    count = len(classes)
    whole = bool((labels == np.floor(labels)).all() and labels.min() >= 0)
    if model.outputs == 1:
        if count == 2 or (not count and whole and labels.max() == 1):
            return "two_classes"
        if not count:
            return "values"
    elif model.outputs == count or (not count and whole and labels.max() < model.outputs):
        return "classes"
    raise ModelError(
        "the labels do not match the model's outputs",
        where="--model",
        bound=f"{count} outputs, one for each class: {some_of(classes, 20)}" if count
        else f"an output for each label from {labels.min():g} to {labels.max():g}",
        measured=counted(model.outputs, "output"),
        remedy=f"remove the folders or rows of classes that the model does not know, or name another model (label: "
        f"{data.label})",
    )  # fmt: skip

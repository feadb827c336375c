"""Matches the features of examples with the inputs of a model."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from components.core.errors import DataError, ModelError, SpecError, counted, one_of, some_of
from components.core.values import FrozenModel
from components.data.ready_made import Stored
from components.spec.examples import AUDIO, IMAGE
from edgemill.project.found import Data, Options
from edgemill.project.lists import listed
from edgemill.project.scales import Scale, candidates
from edgemill.project.unclear import UnclearError
from edgemill.project.unusable import refuse

Array = npt.NDArray[Any]
_PAGE = "docs/own-model.md"


class ModelInput(FrozenModel):
    """An input of a model.

    Attributes:
        shape: Shape of one example; None for open dimensions.
        dtype: Type of its values.
    """

    shape: tuple[int | None, ...]
    dtype: str


class PlannedInput(FrozenModel):
    """The features that an input is made from.

    Attributes:
        features: Feature -> type of its values.
        shape: Shape of one example of the input.
        dtype: Type of the input.
        ranges: The ranges that it can have.
    """

    features: dict[str, Stored]
    shape: tuple[int, ...]
    dtype: str
    ranges: tuple[Scale, ...] = ()

    def range_of(self, name: str) -> Scale:
        """The range with a name, or the first range if only other inputs have one with this name."""
        return next((each for each in self.ranges if each.name == name), self.ranges[0])

    def scaled(self, values: Array, name: str) -> Array:
        """Values of examples [N, ...] in a range, as the model takes them."""
        used = self.range_of(name)
        flat = values.reshape(len(values), -1) * np.asarray(used.scale, np.float32) + np.asarray(
            used.offset, np.float32
        )
        return flat.reshape(len(values), *self.shape).astype(self.dtype)

    @property
    def size(self) -> str:
        """Describe the shape."""
        return " x ".join(map(str, self.shape)) or "1"


def match(
    data: Data, model: Mapping[str, ModelInput], options: Options
) -> tuple[dict[str, Any], dict[str, PlannedInput]]:
    """Determine which features each input takes.

    Returns:
        The fields of `examples` that follow from the inputs, and the features that each input is made from.

    Raises:
        ModelError: An input can't be made from the examples.
        UnclearError: The names of columns or arrays, or their number, don't fit the inputs.
        SpecError: The shape of an input is not fixed.
    """
    shapes = {name: _shape(each, options, several=len(model) > 1) for name, each in model.items()}
    if data.kind in {"images", "audio"}:
        fields, features = _of_media(data, shapes)
    else:
        fields, features = {}, _of_columns(data, shapes, options)
    planned = {
        name: PlannedInput(features=features[name], shape=shape, dtype=model[name].dtype)
        for name, shape in shapes.items()
    }
    return fields, planned


def with_ranges(planned: PlannedInput, values: Array, *, table: bool) -> PlannedInput:
    """The same input with its possible ranges, from examples [N, ...] before scaling.

    Raises:
        DataError: An example has a different number of values than the input.
    """
    if values[:1].size != prod(planned.shape):
        raise DataError(
            f"the examples have a different shape than the model's input: {some_of(planned.features)}",
            where="--data",
            bound=f"{planned.size} in each example",
            measured=" x ".join(map(str, values.shape[1:])),
            remedy="choose another array with --columns, or reshape it as in training",
        )
    stored = next(iter(planned.features.values()))
    ranges = candidates(stored, values.reshape(len(values), -1), table=table and len(planned.shape) < 2)
    return planned.model_copy(update={"ranges": tuple(ranges)})


def _shape(model: ModelInput, options: Options, *, several: bool) -> tuple[int, ...]:
    given, own = options.input_shape, model.shape
    if several and given:
        raise SpecError(
            "the model has several inputs",
            where="--input-shape",
            bound="a model with one input",
            remedy="save the model with fixed shapes",
        )
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
    if None in shape and several:
        raise SpecError(
            "the model's inputs have open dimensions",
            where="--model",
            bound=_open(own),
            remedy="save the model with fixed shapes",
        )
    if None in shape:
        raise UnclearError(
            "the model's input has open dimensions",
            option="input_shape",
            question="What is the shape of one example, separated by commas?",
            default=_usual(own),
            bound=_open(own),
            remedy="choose them, such as `--input-shape 96,96,3`",
        )
    return tuple(size for size in shape if size is not None)


def _usual(shape: tuple[int | None, ...]) -> str:
    """A shape for an image of unspecified size; empty for others."""
    return ",".join("96" if size is None else str(size) for size in shape) if len(shape) == 3 and shape[2] else ""


def _open(shape: tuple[int | None, ...]) -> str:
    return " x ".join("?" if size is None else str(size) for size in shape)


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "1"


def _of_media(data: Data, shapes: Mapping[str, tuple[int, ...]]) -> tuple[dict[str, Any], dict[str, dict[str, Stored]]]:
    """The fields of media that follow from the input's shape, and the feature of the input."""
    if len(shapes) > 1:
        raise ModelError(
            f"the model has several inputs, and the folder has only {data.kind}",
            where="--model",
            bound="one input",
            measured=", ".join(f"{name}: {_size(shape)}" for name, shape in shapes.items()),
            remedy=f"save the values of each input as an array with the input's name, such as with "
            "`np.savez('data.npz', "
            f"{', '.join(f'{name}=...' for name in shapes if name.isidentifier())}, label=...)`, and name it with "
            "--data",
        )
    [(name, shape)] = shapes.items()
    if data.kind == "images":
        height, width, channels = shape if len(shape) == 3 else (*shape, 1) if len(shape) == 2 else (0, 0, 0)
        if channels not in {1, 3} or min(height, width) < 2:
            raise ModelError(
                "the model's input cannot be an image",
                where="--model",
                bound="height x width x 1 (gray) or 3 (color), with the channels last",
                measured=_size(shape),
                remedy="save a model that takes images in this layout (a `Permute` or `Reshape` layer can come first), "
                "or write a pipeline file and a task",
            )
        return {"size": [height, width], "channels": channels}, {name: {IMAGE: "uint8"}}
    sizes = [size for size in shape if size != 1]
    if len(sizes) != 1:
        raise ModelError(
            "the model's input cannot be a sound: it looks like a spectrogram",
            where="--model",
            bound="one dimension of samples",
            measured=_size(shape),
            remedy=f"put the spectrogram computation in front of the model, or into `decode` of a task: see "
            f"'Models that take spectrograms' in {_PAGE}",
        )
    return {"samples": sizes[0]}, {name: {AUDIO: "int16"}}


def _of_columns(data: Data, shapes: Mapping[str, tuple[int, ...]], options: Options) -> dict[str, dict[str, Stored]]:
    """Input -> its columns, or its array: by the names of the inputs if they match, otherwise in their order."""
    sizes = {name: prod(shape) if data.is_table else 1 for name, shape in shapes.items()}
    wrong, count = data.unusable, len(data.columns)
    by_name = not options.columns and shapes.keys() <= data.columns.keys() | wrong.keys() and {*sizes.values()} == {1}
    # Text columns beyond the model's inputs are left out. A column with missing values can be one that the model reads.
    if by_name:
        wrong = {name: why for name, why in wrong.items() if name in shapes}
    elif count == sum(sizes.values()):
        wrong = {name: why for name, why in wrong.items() if why.missing}
    refuse(wrong, tuple(data.columns), f"--data {data.place}", data.count)
    if by_name:
        return {name: {name: data.columns[name]} for name in shapes}
    what = "column" if data.is_table else "array"
    if not data.is_table and count != len(shapes):
        raise UnclearError(
            "it is not clear which array is the input"
            if len(shapes) == 1
            else "it is not clear which array is which input",
            option="columns",
            question="Which array is the input?"
            if len(shapes) == 1
            else f"Which arrays are the inputs {', '.join(shapes)}, in this order?",
            default=listed(list(data.columns)[: len(shapes)]),
            bound=one_of(data.columns) if len(shapes) == 1 else f"an array for each input: {', '.join(shapes)}",
            measured=None if len(shapes) == 1 else some_of(data.columns, 20),
            remedy="name one array with --columns"
            if len(shapes) == 1
            else "give the arrays the names of the inputs, or list them with --columns in the order of the inputs",
        )
    if count != sum(sizes.values()):
        raise UnclearError(
            "the model takes a different number of values than the examples have columns",
            option="columns",
            question="Which columns are the input, in the model's order?",
            default=listed(list(data.columns)[: sum(sizes.values())]),
            bound=f"{counted(sum(sizes.values()), what)}, in the order of the model's input"
            + (f"s: {', '.join(f'{name} ({size})' for name, size in sizes.items())}" if len(shapes) > 1 else ""),
            measured=f"{counted(count, what)}: {some_of(data.columns, 20)}",
            remedy="choose the columns with --columns",
        )
    left = iter(data.columns.items())
    return {name: dict(next(left) for _ in range(size)) for name, size in sizes.items()}

"""Compares the outputs of a file that the pipeline did not make with those of its own model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from components.core.errors import EdgemillError
from components.data.supervision import postprocessed
from components.data.task import load_task
from components.predict.models import TFLitePredictor
from components.predict.prediction import renamed
from components.predict.report import PredictionReport, Rejection

_REMEDY = (
    "to compare with it again, give the model the champion's outputs; otherwise, release a first model with the new "
    "outputs"
)


def differing_outputs(
    content: bytes, example: Mapping[str, npt.NDArray[Any]], baseline: PredictionReport, task: str
) -> Rejection | None:
    """Run a TFLite file on one decoded example. Return how its outputs differ from the baseline's; None if they don't.

    Args:
        content: A file that can run on the example.
        example: Input name -> array [1, ...].
        baseline: The report of the float baseline's predictions.
        task: Reference of the task, whose `postprocess` the outputs go through.
    """
    outputs = renamed(TFLitePredictor(content)(example), baseline.output_names)
    if set(outputs) != set(baseline.output_names):
        return _differs("outputs", sorted(outputs), sorted(baseline.output_names))
    try:
        final = postprocessed(load_task(task), outputs)
    except EdgemillError as error:
        return Rejection(message=f"its outputs cannot be post-processed: {error.what}", remedy=_REMEDY)
    shapes = {name: values.shape[1:] for name, values in final.items()}
    expected = {name: one.shape for name, one in baseline.outputs.items()}
    return None if shapes == expected else _differs("outputs have the shapes", _named(shapes), _named(expected))


def _named(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [f"{name} {list(shape)}" for name, shape in sorted(shapes.items())]


def _differs(what: str, found: Sequence[str], expected: Sequence[str]) -> Rejection:
    own = what.partition(" ")[0]
    verb = " are" if own == what else ""
    message = f"its {what}{verb} {', '.join(found)}; those of this pipeline's model are {', '.join(expected)}"
    return Rejection(message=message, remedy=_REMEDY)

"""A float TFLite file as a baseline."""

from __future__ import annotations

from pathlib import Path

from components.core.errors import ModelError, SpecError
from components.model.tflite_file import inspect_model
from components.model.tflite_runtime import TFLiteModel
from components.spec.baseline import PretrainedBaseline


def load_tflite(baseline: PretrainedBaseline) -> TFLiteModel:
    """Load a float TFLite file, and check that it can be converted and evaluated.

    Raises:
        ModelError: The runtime rejects the file, or it has a string input, a fixed batch, or open dimensions.
        SpecError: The pipeline file gives shapes, which a TFLite file already has.
    """
    if baseline.input_shapes:
        raise SpecError(
            "a TFLite file has the shapes that it was converted with",
            where="baseline.input_shapes",
            bound="no shapes for a TFLite file",
            measured=", ".join(baseline.input_shapes),
            remedy="remove `input_shapes`, and convert the file from the model with these shapes",
        )
    content = Path(baseline.path).read_bytes()
    for fact in inspect_model(content).inputs:
        name = fact.signature or fact.name
        if fact.dtype == "STRING":
            raise ModelError(
                "the model takes strings, not decoded inputs",
                where=f"{baseline.path}, input {name}",
                bound="numeric inputs, as the task's decode returns them",
                measured="string",
                remedy="convert a model that starts after parsing, and leave decoding to the task",
            )
        if not fact.shape or fact.shape[0] not in (1, -1) or min(fact.shape[1:], default=1) < 1:
            raise ModelError(
                f"the input {name!r} has no fixed size per example",
                where=baseline.path,
                bound="an open batch or a batch of 1, every other dimension fixed",
                measured=f"shape {list(fact.shape)}",
                remedy="convert the model again for one example of a fixed size",
            )
    return TFLiteModel(content)

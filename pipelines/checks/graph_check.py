"""Finds what can't be converted in a baseline that is a graph without Keras layers. `limits` has the table."""

from __future__ import annotations

import math
from collections.abc import Iterator

from components.core.errors import ModelError
from components.spec.recipe import Recipe
from components.spec.scheme import StaticScheme
from components.spec.schemes.limits import DYNAMIC_MINIMUM_ELEMENTS
from pipelines.checks.conversion_check import (
    is_plain,
    no_large_weight,
    not_converted,
    not_injected,
    operators_without_kernel,
)
from pipelines.checks.output_check import Built


def graph_refusals(recipe: Recipe, built: Built) -> Iterator[ModelError]:
    """Yield every reason why the baseline can't be converted in the recipe's scheme.

    Args:
        recipe: The recipe.
        built: The baseline, with its operations or its float file.
    """
    if not is_plain(built.operations) and (failure := built.failure()) is not None:
        yield not_converted(failure)
    if recipe.scheme.is_dynamic_range and (content := built.float_file or built.converted()):
        from components.model.tflite_file import inspect_model

        largest = max((math.prod(weight.shape) for weight in inspect_model(content).weights), default=0)
        if largest < DYNAMIC_MINIMUM_ELEMENTS:
            yield no_large_weight(largest)
    if not isinstance(recipe.scheme, StaticScheme) or recipe.steps:
        return
    from components.model.saved_model import LOOPS

    loops = sorted(built.operations & LOOPS)
    if loops:
        yield ModelError(
            "the graph loops over time steps, and TensorFlow Lite crashes when it measures the ranges of a loop",
            where="scheme",
            bound="recurrent layers in a Keras file, which Edgemill lowers, or a graph without loops",
            measured=", ".join(loops),
            remedy="use the .keras file that the SavedModel was exported from as the baseline; or use "
            "dynamic_wi8_afp32 or float16, which measure no ranges",
        )
    if built.float_file is not None:
        from components.convert.aeq.layers import read_graph

        if error := not_injected(recipe.scheme, read_graph(built.float_file)):
            yield error
    elif not loops and recipe.scheme.backend == "tensorflow" and (content := built.converted()):
        from components.convert.aeq.layers import read_graph

        yield from operators_without_kernel(recipe.scheme, read_graph(content), casts=False)
        if not recipe.scheme.float_fallback and (error := _other_floats(content)):
            yield error


def _other_floats(content: bytes) -> ModelError | None:
    """Return the error for inputs and outputs of floats that aren't float32, which the converter doesn't quantize."""
    from components.model.tflite_file import inspect_model

    inspection = inspect_model(content)
    found = [each for each in (*inspection.inputs, *inspection.outputs) if each.dtype in {"FLOAT16", "FLOAT64"}]
    if not found:
        return None
    return ModelError(
        "the graph takes or returns floats that aren't float32, which the converter doesn't quantize",
        where="scheme",
        bound="inputs and outputs of float32, of integers, or of booleans",
        measured=", ".join(f"{each.name} ({each.dtype})" for each in found),
        remedy="export a signature of float32, and cast in the task's decode, or add `float_fallback: true`",
    )

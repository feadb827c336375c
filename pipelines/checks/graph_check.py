"""Finds what can't be converted of a baseline that is a graph without Keras layers. `limits` has the table."""

from __future__ import annotations

import math
from collections.abc import Iterator

from components.core.errors import ModelError
from components.spec.recipe import Recipe
from components.spec.scheme import StaticScheme
from components.spec.schemes.limits import DYNAMIC_MINIMUM_ELEMENTS, WITHOUT_OPERATOR
from pipelines.checks.conversion_check import no_large_weight, not_injected, without_operator
from pipelines.checks.output_check import Built


def graph_refusals(recipe: Recipe, built: Built) -> Iterator[ModelError]:
    """Yield every reason why no file of the recipe's scheme can be made from the baseline.

    Args:
        recipe: The recipe.
        built: The baseline, with its operations or its float file.
    """
    lacking = sorted(built.operations & WITHOUT_OPERATOR.keys())
    if lacking and built.converted() is None:
        yield without_operator(lacking)
    if recipe.scheme.is_dynamic_range and (content := built.float_file or built.converted()):
        from components.model.tflite_file import inspect_model

        largest = max((math.prod(weight.shape) for weight in inspect_model(content).weights), default=0)
        if largest < DYNAMIC_MINIMUM_ELEMENTS:
            yield no_large_weight(largest)
    if not isinstance(recipe.scheme, StaticScheme) or recipe.steps:
        return
    from components.model.saved_model import LOOPS

    if loops := sorted(built.operations & LOOPS):
        yield ModelError(
            "the graph loops over time steps, and TensorFlow Lite crashes when it measures the ranges of a loop",
            where="scheme",
            bound="recurrent layers in a Keras file, which Edgemill lowers, or a graph without loops",
            measured=", ".join(loops),
            remedy="name the .keras file that the SavedModel was exported from as baseline; or use "
            "dynamic_wi8_afp32 or float16, which measure no ranges",
        )
    if built.float_file is not None:
        from components.convert.aeq.layers import read_graph

        if error := not_injected(recipe.scheme, read_graph(built.float_file)):
            yield error

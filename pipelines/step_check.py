"""What the steps of recipes will do to each layer of the model, told and refused before the first node runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from components.errors import EdgemillError
from components.keras_model import check_trains_on
from components.report import LayerPlan
from components.task import Task, compiling
from pipelines.spec import PipelineSpec

Previews = Mapping[str, tuple[LayerPlan, ...]]


def check_steps(spec: PipelineSpec, task: Task, model: Any) -> Previews:
    """Prepare the model for each recipe's steps, without training.

    Args:
        spec: The pipeline.
        task: Its task.
        model: The baseline's Keras model, trained or not.

    Returns:
        Recipe name -> what happens to each layer, for the recipes that train.

    Raises:
        SpecError, ModelError: A step cannot be done on this model; the message names the recipe.
    """
    if not any(recipe.steps for recipe in spec.recipes):
        return {}
    from components.quantize.qat import preview, quantized

    compiling(task)
    check_trains_on(model)
    previews = {}
    for index, recipe in enumerate(spec.recipes):
        if recipe.trained is None:
            continue
        try:
            previews[recipe.name] = preview(model, recipe.trained, recipe.scheme)
            quantized(model, recipe.trained, recipe.scheme, steps_per_epoch=1)
        except EdgemillError as error:
            raise error.placed(f"recipes[{index}] ({recipe.name})") from error
    return previews

"""What the steps of recipes will do to each layer of the model, told and refused before the first node runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import assert_never

from components.cluster.spec import ClusterStep
from components.errors import EdgemillError
from components.keras_model import check_trains_on
from components.prune.spec import PruneStep
from components.quantize.qat_spec import QatStep
from components.recipe import Recipe, Step
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
        Recipe name (and step, where it has several) -> what happens to each layer, for the recipes that train.

    Raises:
        SpecError, ModelError: A step cannot be done on this model; the message names the recipe.
    """
    if not any(recipe.steps for recipe in spec.recipes):
        return {}
    compiling(task)
    check_trains_on(model)
    previews: dict[str, tuple[LayerPlan, ...]] = {}
    for index, recipe in enumerate(spec.recipes):
        for step in recipe.steps:
            name = recipe.name if len(recipe.steps) == 1 else f"{recipe.name}, {step.kind}"
            try:
                previews[name] = _prepared(model, recipe, step)
            except EdgemillError as error:
                raise error.placed(f"recipes[{index}] ({recipe.name})") from error
    return previews


def _prepared(model: Any, recipe: Recipe, step: Step) -> tuple[LayerPlan, ...]:
    match step:
        case PruneStep():
            from components.prune.pruning import preview

            return preview(model, step, recipe.scheme)
        case ClusterStep():
            from components.cluster import clustering

            return clustering.preview(model, step)
        case QatStep():
            from components.quantize import qat

            plans = qat.preview(model, step, recipe.scheme)
            qat.quantized(model, step, recipe.scheme, steps_per_epoch=1)
            return plans
        case _:
            assert_never(step)

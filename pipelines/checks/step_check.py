"""Previews what the steps of recipes do to each layer, and refuses impossible steps before the first node runs."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

from components.convert.checks.scheme_check import DYNAMIC_MINIMUM_ELEMENTS
from components.core.errors import EdgemillError, ModelError
from components.data.task import Task, compiling
from components.facts.training import LayerPlan
from components.model.keras_model import check_trains_on
from components.spec.recipe import Recipe, Step
from components.spec.steps.qat import QatStep
from components.upstream.keras import layers_within
from pipelines.file.spec import PipelineSpec

Previews = Mapping[str, tuple[LayerPlan, ...]]


def check_steps(spec: PipelineSpec, task: Task, model: Any) -> Previews:
    """Prepare the baseline's Keras model, trained or not, for each recipe's steps, without training.

    Returns:
        Recipe name (and step, if the recipe has several) -> what happens to each layer, for recipes with steps. For a
        model with recurrent layers, also what happens to these in the other recipes. For a model that is too small for
        dynamic range quantization, also the sizes of its weights.

    Raises:
        SpecError, ModelError: A step is impossible for this model. The message names the recipe.
    """
    recurrent = _recurrent_layers(spec, model)
    small = {} if model is None or recurrent else _too_small_for_dynamic(spec, model)
    if not any(recipe.steps for recipe in spec.recipes):
        return {**recurrent, **small}
    compiling(task)
    check_trains_on(model)
    previews = {**recurrent, **small}
    for index, recipe in enumerate(spec.recipes):
        for step in recipe.steps:
            alone = len(recipe.steps) == 1 and (recipe.name not in recurrent or isinstance(step, QatStep))
            name = recipe.name if alone else f"{recipe.name}, {step.kind}"
            try:
                previews[name] = _prepared(model, recipe, step)
            except EdgemillError as error:
                raise error.placed(f"recipes[{index}] ({recipe.name})") from error
    return previews


def _too_small_for_dynamic(spec: PipelineSpec, model: Any) -> Previews:
    """List the layers with weights, for recipes whose conversion fails because no layer has enough elements."""
    sizes = {
        layer: max(math.prod(weight.shape) for weight in layer.weights)
        for layer in layers_within(model)
        if layer.weights
    }
    largest = max(sizes.values(), default=0)
    if largest >= DYNAMIC_MINIMUM_ELEMENTS:
        return {}
    note = (
        f"dynamic range quantizes weights of at least {DYNAMIC_MINIMUM_ELEMENTS:,} elements, and the largest here has "
        f"{largest:,}: the conversion fails"
    )
    plans = tuple(
        LayerPlan(layer=layer.name, kind=type(layer).__name__, mode="float", weights=f"{size:,} elements", note=note)
        for layer, size in sizes.items()
    )
    return {f"{recipe.name}, scheme": plans for recipe in spec.recipes if recipe.scheme.is_dynamic_range}


def _prepared(model: Any, recipe: Recipe, step: Step) -> tuple[LayerPlan, ...]:
    module, _, function = step.preview.partition(":")
    plans: tuple[LayerPlan, ...] = getattr(importlib.import_module(module), function)(model, step, recipe.scheme)
    return plans


def _recurrent_layers(spec: PipelineSpec, model: Any) -> Previews:
    """Plan the model's recurrent layers, if any, for each recipe. Raises a ModelError if one can't be converted."""
    from components.cells.plan import is_recurrent

    asked = [recipe for recipe in spec.recipes if recipe.recurrent is not None]
    if model is None:
        if asked:
            raise ModelError(
                "this SavedModel is a graph without Keras layers, so no recurrent layer can be lowered",
                where=f"recipes ({asked[0].name})",
                bound="a .keras or .h5 file, or a SavedModel that `model.save` of tf-keras wrote",
                remedy="name the Keras model as baseline, or remove `recurrent`",
            )
        return {}
    if not asked and not any(is_recurrent(layer) for layer in model.submodules):
        return {}
    from components.lowering.preflight import plan_layers

    previews = {}
    for index, recipe in enumerate(spec.recipes):
        try:
            plans = plan_layers(model, recipe.scheme, recipe.recurrent, recipe.trained is not None)
            if any(plan.mode in {"lowered", "unrolled"} for plan in plans):
                check_trains_on(model)
            previews[recipe.name] = plans
        except EdgemillError as error:
            raise error.placed(f"recipes[{index}] ({recipe.name})") from error
    return previews

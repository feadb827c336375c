"""Checks each recipe against the model before the first node runs, and previews how its steps treat each layer."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from components.core.errors import EdgemillError, ModelError
from components.core.values import Watch, unwatched
from components.data.task import Task, compiling
from components.facts.training import LayerPlan
from components.model.keras_model import check_trains_on
from components.spec.recipe import Recipe, Step
from components.spec.steps.qat import QatStep
from components.upstream.keras import layers_inside
from pipelines.checks.conversion_check import conversion_refusals, unusual_operators
from pipelines.checks.converted.model import ConvertedModel
from pipelines.checks.graph_check import graph_refusals
from pipelines.checks.output_check import Built

Previews = Mapping[str, tuple[LayerPlan, ...]]


@dataclass(frozen=True)
class CheckedRecipes:
    """The result of checking all recipes against the model.

    Attributes:
        previews: Recipe name (and step, if the recipe has several) -> the treatment of each layer, for recipes with
            steps that can work. For a model with recurrent layers, also their treatment in the other recipes.
        refused: Recipe name -> every reason why the recipe cannot work. Recipes that can work are absent.
        kinds: The operators of the float file; empty if all are plain ones, or if they are unknown.
    """

    previews: dict[str, tuple[LayerPlan, ...]] = field(default_factory=dict)
    refused: dict[str, list[EdgemillError]] = field(default_factory=dict)
    kinds: frozenset[str] = frozenset()

    @contextmanager
    def refusing(self, recipe: Recipe) -> Iterator[None]:
        """Keep an error as a reason against a recipe."""
        try:
            yield
        except EdgemillError as error:
            self.refuse(recipe, error)

    def refuse(self, recipe: Recipe, error: EdgemillError) -> None:
        """Add a reason against a recipe."""
        self.refused.setdefault(recipe.name, []).append(error)


def check_recipes(recipes: tuple[Recipe, ...], task: Task, built: Built, watch: Watch = unwatched) -> CheckedRecipes:
    """Prepare the model for each recipe, without training and without conversion.

    Args:
        recipes: The recipes.
        task: The pipeline's task.
        built: The baseline's model, trained or not.
        watch: Called with the number of recipes that are done.

    Raises:
        SpecError: A recipe trains, but the task has no `compile`.
    """
    if any(recipe.steps for recipe in recipes):
        compiling(task)
    model = built.model
    converted = ConvertedModel(model) if model is not None else None
    checked = CheckedRecipes(kinds=unusual_operators(converted) if converted is not None else frozenset())
    trains, files = _once(lambda: _check_trains(built)), cache(lambda: _recurrent_files(model))
    for number, recipe in enumerate(recipes):
        watch(number, len(recipes), f"checking {recipe.name}")
        previews: dict[str, tuple[LayerPlan, ...]] = {}
        with checked.refusing(recipe):
            if plans := _recurrent_layers(recipe, model, trains):
                previews[recipe.name] = plans
        # A refused recurrent layer is the cause of the casts of its mask.
        if converted is not None and recipe.name not in checked.refused:
            for error in conversion_refusals(recipe, converted, recurrent=bool(previews)):
                checked.refuse(recipe, error)
        # Only the file in a dynamic range scheme shows whether a large constant is quantized.
        constant = recipe.scheme.is_dynamic_range and converted is not None and converted.largest_is_constant
        if (previews or constant) and recipe.name not in checked.refused:
            for refusal in files().refusals(recipe, previews.get(recipe.name, ())):
                checked.refuse(recipe, refusal)
        if model is None:
            for error in graph_refusals(recipe, built):
                checked.refuse(recipe, error)
        if recipe.steps:
            with checked.refusing(recipe):
                trains()
                for step in recipe.steps:
                    alone = len(recipe.steps) == 1 and (recipe.name not in previews or isinstance(step, QatStep))
                    with checked.refusing(recipe):
                        previews[recipe.name if alone else f"{recipe.name}, {step.kind}"] = _prepared(
                            model, recipe, step
                        )
        if recipe.name not in checked.refused:
            checked.previews.update(previews)
    return checked


def _check_trains(built: Built) -> None:
    if built.untrained is not None:
        raise built.untrained
    check_trains_on(built.model)


def _once(check: Callable[[], object]) -> Callable[[], None]:
    """Remember the result of a check, which is the same for all recipes."""

    @cache
    def found() -> EdgemillError | None:
        try:
            check()
        except EdgemillError as error:
            return error
        return None

    def run() -> None:
        if (error := found()) is not None:
            raise error

    return run


def _recurrent_files(model: Any) -> Any:
    from pipelines.checks.converted.recurrent import RecurrentFiles

    return RecurrentFiles(model)


def _prepared(model: Any, recipe: Recipe, step: Step) -> tuple[LayerPlan, ...]:
    module, _, function = step.preview.partition(":")
    plans: tuple[LayerPlan, ...] = getattr(importlib.import_module(module), function)(model, step, recipe.scheme)
    return plans


def _recurrent_layers(recipe: Recipe, model: Any, trains: Callable[[], None]) -> tuple[LayerPlan, ...]:
    """Plan the recurrent layers, if the model has any.

    Args:
        recipe: The recipe.
        model: The Keras model; None for a graph without layers.
        trains: Raises an error if Keras can't save the model and load it again.

    Raises:
        ModelError: A recurrent layer can't be converted in the recipe, or Keras can't save a model with lowered layers.
    """
    from components.cells.plan import is_recurrent

    if model is None:
        if recipe.recurrent is not None:
            raise ModelError(
                "the baseline is a graph without Keras layers, so no recurrent layer can be lowered",
                where="recurrent",
                bound="a .keras or .h5 file, or a SavedModel that `model.save` of tf-keras wrote",
                remedy="use the Keras model as the baseline, or remove `recurrent`",
            )
        return ()
    if recipe.recurrent is None and not any(is_recurrent(layer) for layer in layers_inside(model)):
        return ()
    from components.lowering.preflight import plan_layers

    plans = plan_layers(model, recipe.scheme, recipe.recurrent, recipe.trained is not None)
    if any(plan.mode in {"lowered", "unrolled"} for plan in plans):
        trains()
    return plans

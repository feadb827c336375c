"""Handles recipes that cannot work on the model: they stop the pipeline, or the others run without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from components.core.errors import EdgemillError, ModelError
from components.spec.devices.advice import with_advice
from pipelines.file.device_checks import device_errors
from pipelines.file.load import LoadedPipeline, PipelineFileError, SkippedRecipe

# Recipe name -> why it cannot work; empty or missing for a recipe that can. The errors don't name the recipe.
Refusals = Mapping[str, Sequence[EdgemillError]]


class ImpossibleRecipesError(PipelineFileError):
    """Recipes that cannot work on the model, and the pipeline that can run without them."""

    def __init__(self, file: Path, errors: Sequence[EdgemillError], others: Sequence[str]) -> None:
        self.others = tuple(others)
        super().__init__(file, errors)

    def __str__(self) -> str:
        if not self.others:
            return f"{super().__str__()}\n  No recipe can work on this model."
        return (
            f"{super().__str__()}\n  To run the others ({', '.join(self.others)}), add `impossible: skip` to the file, "
            "or pass --skip-impossible."
        )

    def __reduce__(self) -> tuple[object, ...]:
        return ImpossibleRecipesError, (self.file, self.errors, self.others)


def allow_skipping(loaded: LoadedPipeline) -> LoadedPipeline:
    """Return the pipeline with `impossible: skip`, regardless of its file."""
    return loaded.model_copy(update={"spec": loaded.spec.model_copy(update={"impossible": "skip"})})


def placed_refusals(loaded: LoadedPipeline, refused: Refusals) -> list[EdgemillError]:
    """List the reasons in the order of the file, with the position of their recipe in it."""
    places = _places(loaded)
    return [
        error.placed(f"recipes[{places[recipe.name]}] ({recipe.name})")
        for recipe in loaded.spec.recipes
        for error in refused.get(recipe.name, ())
    ]


def without_impossible(loaded: LoadedPipeline, refused: Refusals) -> LoadedPipeline:
    """Return the pipeline without its impossible recipes, which `skipped` lists.

    Only a ModelError makes a recipe impossible on this model. Any other error is a mistake in the pipeline file, such
    as the name of a layer that doesn't exist, and always stops the pipeline.

    Raises:
        PipelineFileError: The pipeline file says `impossible: stop`, it has a mistake, no recipe can work, or a device
            can run none of the others. The error has the reasons of all recipes.
    """
    kinds = {recipe.name: recipe.scheme.kind for recipe in loaded.spec.recipes}
    refused = {
        name: [with_advice(error, kinds.get(name), loaded.devices) for error in errors]
        for name, errors in refused.items()
    }
    errors = placed_refusals(loaded, refused)
    if not errors:
        return loaded
    if not all(isinstance(error, ModelError) for error in errors):
        raise PipelineFileError(loaded.file, errors)
    possible = [recipe.name for recipe in loaded.spec.recipes if not refused.get(recipe.name)]
    if loaded.spec.impossible == "stop" or not possible:
        raise ImpossibleRecipesError(loaded.file, errors, possible)
    places = _places(loaded)
    skipped = [
        SkippedRecipe(
            name=recipe.name,
            scheme=recipe.scheme.kind,
            place=places[recipe.name],
            reasons=tuple(map(str, refused[recipe.name])),
        )
        for recipe in loaded.spec.recipes
        if recipe.name not in possible
    ]
    others = without_skipped(loaded, skipped)
    if unserved := list(device_errors(others.spec, others.devices)):
        raise PipelineFileError(loaded.file, [*errors, *unserved])
    return others


def without_skipped(loaded: LoadedPipeline, skipped: Sequence[SkippedRecipe]) -> LoadedPipeline:
    """Return the pipeline without these recipes, which it lists as skipped in addition to earlier ones."""
    names = {one.name for one in skipped}
    recipes = tuple(recipe for recipe in loaded.spec.recipes if recipe.name not in names)
    return loaded.model_copy(
        update={
            "spec": loaded.spec.model_copy(update={"recipes": recipes}),
            "skipped": tuple(sorted((*loaded.skipped, *skipped), key=lambda one: one.place)),
        }
    )


def _places(loaded: LoadedPipeline) -> dict[str, int]:
    """Map each remaining recipe to its index in the file."""
    gone = {one.place for one in loaded.skipped}
    left = (index for index in count() if index not in gone)
    return {recipe.name: index for recipe, index in zip(loaded.spec.recipes, left, strict=False)}

"""The training nodes of a pipeline. Recipes with the same step on the same model share a node. Imports no TFX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from components.spec.recipe import Recipe, Step

BASELINE_NODE = "baseline"
_DIGEST_LENGTH = 10


@dataclass(frozen=True)
class StepNode:
    """One training node.

    Attributes:
        id: `<kind>__<digest>`. The digest covers the step's parameters and its parent, but not the recipe's name. A
            renamed recipe, or the removal of a recipe that shares the step, causes no new training.
        parent: ID of the node whose model the step starts from.
        step: The recipe's step.
        asked: Parameters of the step, which all recipes of the node share.
        recipes: Names of these recipes, in the order of the pipeline file.
    """

    id: str
    parent: str
    step: Step
    asked: Mapping[str, Any]
    recipes: tuple[str, ...]


def chain(recipe: Recipe) -> tuple[StepNode, ...]:
    """List the training nodes of a recipe in order. The recipe converts the model of the last one."""
    nodes: list[StepNode] = []
    for step in recipe.steps:
        parent = nodes[-1].id if nodes else BASELINE_NODE
        asked = _asked(recipe, step)
        digest = hashlib.sha256(json.dumps([parent, asked], sort_keys=True).encode()).hexdigest()[:_DIGEST_LENGTH]
        nodes.append(StepNode(f"{step.kind}__{digest}", parent, step, asked, (recipe.name,)))
    return tuple(nodes)


def step_nodes(recipes: Iterable[Recipe]) -> dict[str, StepNode]:
    """Map node IDs to the training nodes of all recipes, parents first."""
    nodes: dict[str, StepNode] = {}
    for recipe in recipes:
        for node in chain(recipe):
            earlier = nodes.get(node.id)
            nodes[node.id] = replace(earlier, recipes=(*earlier.recipes, recipe.name)) if earlier else node
    return nodes


def recipes_of_nodes(recipes: Iterable[Recipe]) -> dict[str, tuple[str, ...]]:
    """Map the IDs of training nodes to the names of their recipes."""
    return {name: node.recipes for name, node in step_nodes(recipes).items()}


def _asked(recipe: Recipe, step: Step) -> dict[str, Any]:
    asked: dict[str, Any] = {"step": step.model_dump()}
    if "invariants" in step.depends_on:
        asked["invariants"] = recipe.invariants_of(step).model_dump()
    if "scheme" in step.depends_on:
        # `float_io` matters only to conversion, unless layers can stay float: inputs and outputs then have no range.
        fallback = getattr(recipe.scheme, "float_fallback", False)
        asked["scheme"] = recipe.scheme.model_copy(update={} if fallback else {"float_io": False}).model_dump()
        asked["recurrent"] = recipe.recurrent
    return asked

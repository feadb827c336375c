"""The training nodes of a pipeline: recipes that ask the same of the same model share a node. Imports no TFX."""

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
        id: `<kind>__<digest>`. The digest is of what the step is asked and of its parent, not of the recipe's name: a
            renamed recipe, or the removal of one that shares the step, trains nothing again.
        parent: Id of the node whose model the step starts from.
        step: The recipe's step.
        asked: Parameters that recipes sharing the node agree on.
        recipes: Names of these recipes, in the order of the pipeline file.
    """

    id: str
    parent: str
    step: Step
    asked: Mapping[str, Any]
    recipes: tuple[str, ...]


def chain(recipe: Recipe) -> tuple[StepNode, ...]:
    """The training nodes of one recipe, in order; the last one's model is what the recipe converts."""
    nodes: list[StepNode] = []
    for step in recipe.steps:
        parent = nodes[-1].id if nodes else BASELINE_NODE
        asked = _asked(recipe, step)
        digest = hashlib.sha256(json.dumps([parent, asked], sort_keys=True).encode()).hexdigest()[:_DIGEST_LENGTH]
        nodes.append(StepNode(f"{step.kind}__{digest}", parent, step, asked, (recipe.name,)))
    return tuple(nodes)


def step_nodes(recipes: Iterable[Recipe]) -> dict[str, StepNode]:
    """Node id -> training node of all recipes, parents first."""
    nodes: dict[str, StepNode] = {}
    for recipe in recipes:
        for node in chain(recipe):
            earlier = nodes.get(node.id)
            nodes[node.id] = replace(earlier, recipes=(*earlier.recipes, recipe.name)) if earlier else node
    return nodes


def recipes_of_nodes(recipes: Iterable[Recipe]) -> dict[str, tuple[str, ...]]:
    """Node id -> names of the recipes that the node works for; training nodes only."""
    return {name: node.recipes for name, node in step_nodes(recipes).items()}


def _asked(recipe: Recipe, step: Step) -> dict[str, Any]:
    asked: dict[str, Any] = {"step": step.model_dump()}
    if "invariants" in step.depends_on:
        asked["invariants"] = recipe.invariants_of(step).model_dump()
    if "scheme" in step.depends_on:
        # Conversion decides the type of the model's inputs and outputs, unless layers there may stay float: those have
        # no range.
        fallback = getattr(recipe.scheme, "float_fallback", False)
        asked["scheme"] = recipe.scheme.model_copy(update={} if fallback else {"float_io": False}).model_dump()
        asked["recurrent"] = recipe.recurrent
    return asked

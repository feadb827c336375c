"""The nodes that recipes share: training nodes of the same step on the same model, conversions, and predictions.

Doesn't import TFX.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.spec.recipe import Recipe, Step
from pipelines.file.spec import FLOAT_REFERENCE

BASELINE_NODE = "baseline"
_DIGEST_LENGTH = 10


@dataclass(frozen=True)
class StepNode:
    """One training node.

    Attributes:
        id: `<kind>__<digest>`. The digest covers the step's parameters and its parent, but not the recipe's name.
            Renaming a recipe, or removing a recipe that shares the step, doesn't cause new training.
        parent: ID of the node whose model the step starts from.
        step: The recipe's step.
        asked: The requested parameters of the step, which all recipes of the node share.
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
        nodes.append(StepNode(f"{step.kind}__{_digest([parent, asked])}", parent, step, asked, (recipe.name,)))
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
    """Map the IDs of nodes that have a digest to the names of their recipes."""
    recipes = tuple(recipes)
    found = {name: node.recipes for name, node in step_nodes(recipes).items()}
    for kind in ("convert", "predict", "latency"):
        for recipe in recipes:
            node = candidate_id(kind, recipe)
            found[node] = (*found.get(node, ()), recipe.name)
    return {candidate_id("convert", FLOAT_REFERENCE): (FLOAT_REFERENCE.name,)} | found


def shown_id(node: str, recipes: Mapping[str, Sequence[str]]) -> str:
    """A readable node ID: a node with a digest has the name of its first recipe instead.

    Args:
        node: The node's ID.
        recipes: The result of `recipes_of_nodes`.
    """
    return f"{node.partition('__')[0]}__{recipes[node][0]}" if node in recipes else node


def candidate_id(kind: str, recipe: Recipe) -> str:
    """ID of a node for candidates: `convert__<digest>`. The digest doesn't cover the recipe's name."""
    steps = chain(recipe)
    parent = steps[-1].id if steps else BASELINE_NODE
    return f"{kind}__{_digest([parent, recipe.model_dump(mode='json', exclude={'name'})])}"


def _digest(asked: Any) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:_DIGEST_LENGTH]


def _asked(recipe: Recipe, step: Step) -> dict[str, Any]:
    asked: dict[str, Any] = {"step": step.model_dump()}
    if "invariants" in step.depends_on:
        asked["invariants"] = recipe.invariants_of(step).model_dump()
    if "scheme" in step.depends_on:
        # `float_io` matters only for conversion, unless layers can stay in float: inputs and outputs then have no
        # range.
        fallback = getattr(recipe.scheme, "float_fallback", False)
        asked["scheme"] = recipe.scheme.model_copy(update={} if fallback else {"float_io": False}).model_dump()
        asked["recurrent"] = recipe.recurrent
    return asked

"""The nodes that run each model on the evaluation split, and measure its time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from components.evaluate.latency.component import LatencyMeasurement
from components.predict.component import Predictor
from components.spec.prediction import PredictionSpec
from components.spec.recipe import Recipe
from pipelines.file.spec import PipelineSpec
from pipelines.graph.ingest import Ingested
from pipelines.graph.steps import BASELINE_NODE, candidate_id

PREDICTOR, TIMER = "components.predict.component", "components.evaluate.latency.component"


@dataclass(frozen=True)
class Predicted:
    """The nodes, and their outputs.

    Attributes:
        nodes: All nodes, the baseline's first.
        of_baseline: Predictions of the baseline.
        of_recipes: Name of a recipe -> predictions of its candidate.
    """

    nodes: tuple[BaseNode, ...]
    of_baseline: BaseChannel
    of_recipes: dict[str, BaseChannel]


def predicted(
    recipes: Iterable[Recipe],
    candidates: Mapping[str, BaseChannel],
    baseline: BaseChannel,
    spec: PipelineSpec,
    data: Ingested,
    task: Mapping[str, str],
) -> Predicted:
    """Create a node for the baseline, and for each candidate. Recipes that differ only in their names share one.

    Args:
        recipes: The recipes of the pipeline file.
        candidates: Name of a recipe -> its candidate.
        baseline: The float model.
        spec, data: The pipeline file, and its examples.
        task: Parameters of components that call the task.
    """
    recipes = tuple(recipes)
    asked = prediction_spec(spec)

    def node(name: str, model: BaseChannel, floats: BaseChannel | None) -> BaseNode:
        return Predictor(
            examples=data.examples,
            model=model,
            baseline=floats,
            transform_graph=data.transform_graph,
            spec=asked,
            **task,
        ).with_id(name)

    first = node(f"predict__{BASELINE_NODE}", baseline, None)
    floats = first.outputs["predictions"]
    names = {candidate_id("predict", one): one.name for one in recipes}
    others = {name: node(name, candidates[recipe], floats) for name, recipe in names.items()}
    of_recipes = {one.name: others[candidate_id("predict", one)].outputs["predictions"] for one in recipes}
    return Predicted((first, *others.values()), floats, of_recipes)


def prediction_spec(spec: PipelineSpec) -> str:
    """The parameter `spec` of nodes that predict."""
    asked = spec.evaluate
    return PredictionSpec(
        split=asked.split, batch_size=asked.batch_size, max_bytes=asked.max_prediction_bytes
    ).model_dump_json()


def timed(
    recipes: Iterable[Recipe],
    candidates: Mapping[str, BaseChannel],
    float_reference: BaseChannel,
    spec: PipelineSpec,
    data: Ingested,
    *,
    retry: Callable[[str], str] | None,
    task: Mapping[str, str],
) -> tuple[tuple[BaseNode, ...], dict[str, BaseChannel]]:
    """Create a node that times each candidate, so that adding a recipe doesn't affect the times of others.

    Args:
        recipes, candidates, spec, data, task: As for `predicted`.
        float_reference: The float TFLite file that times are compared with.
        retry: As for `pipelines.graph.build.pipeline_nodes`; None if no device bounds a time.

    Returns:
        The nodes, and name of a recipe -> latency of its candidate.
    """
    nodes: dict[str, BaseNode] = {}
    found = {}
    for recipe in recipes:
        name = candidate_id("latency", recipe)
        if name not in nodes:
            nodes[name] = LatencyMeasurement(
                candidate=candidates[recipe.name],
                float_reference=float_reference,
                examples=data.examples,
                **({} if data.transform_graph is None else {"transform_graph": data.transform_graph}),
                split=spec.evaluate.split,
                retry="" if retry is None else retry(name),
                **task,
            ).with_id(name)
        found[recipe.name] = nodes[name].outputs["latency"]
    return tuple(nodes.values()), found

"""The nodes that explain why candidates differ from their float models, and what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from tfx.dsl.components.base.base_node import BaseNode
from tfx.types.channel import BaseChannel

from components.changes.component import ChangeFinder, ChangeSpec
from components.explain.component import Explainer, ExplainerSpec
from components.spec.recipe import Recipe
from pipelines.file.spec import PipelineSpec
from pipelines.graph.ingest import Ingested
from pipelines.graph.steps import BASELINE_NODE, chain

EXPLAINER, CHANGE_FINDER = "components.explain.component", "components.changes.component"


def explainers(
    recipes: Iterable[Recipe],
    candidates: Mapping[str, BaseChannel],
    spec: PipelineSpec,
    data: Ingested,
    sample: BaseChannel | None,
    *,
    model_of: Callable[[str], BaseChannel],
    retry: Callable[[str], str],
    task: Mapping[str, str],
) -> Iterator[BaseNode]:
    """Yield a node for each recipe that quantizes something.

    Args:
        recipes: All recipes that are converted, including a float reference that the pipeline file doesn't list.
        candidates: Name of a recipe -> its candidate.
        spec, data: The pipeline file, and its examples.
        sample: The calibration sample; None without one.
        model_of: ID of a training node, or of the baseline -> its model.
        retry: As for `pipelines.graph.build.pipeline_nodes`.
        task: Parameters of components that call the task.
    """
    recipes = tuple(recipes)
    floats = next((one.name for one in recipes if one.scheme.is_float and not one.steps and not one.recurrent), None)
    for recipe in recipes:
        if recipe.scheme.is_float:
            continue
        node, steps = f"explain__{recipe.name}", chain(recipe)
        asked = ExplainerSpec(
            recipe=recipe.model_dump(mode="json"),
            examples=spec.explain.examples,
            split=spec.evaluate.split,
            limits=spec.convert,
        )
        optional = {
            # The float file of the baseline doesn't apply to a model that a step trained.
            "float_reference": candidates[floats] if floats is not None and not steps else None,
            "calibration": sample,
            "examples": data.examples if sample is None else None,
            "transform_graph": data.transform_graph,
        }
        yield Explainer(
            candidate=candidates[recipe.name],
            model=model_of(steps[-1].id if steps else BASELINE_NODE),
            **{name: channel for name, channel in optional.items() if channel is not None},
            spec=asked.model_dump_json(),
            retry=retry(node),
            **task,
        ).with_id(node)


def change_finders(
    predictions: Mapping[str, BaseChannel],
    baseline: BaseChannel,
    spec: PipelineSpec,
    data: Ingested,
    task: Mapping[str, str],
) -> Iterator[BaseNode]:
    """Yield a node for each recipe that changes the baseline.

    Args:
        predictions: Name of a recipe -> its predictions.
        baseline: Predictions of the float baseline.
        spec, data: The pipeline file, and its examples.
        task: Parameters of components that call the task.
    """
    for recipe in spec.recipes:
        if recipe.scheme.is_float and not recipe.steps:
            continue
        asked = ChangeSpec(
            recipe=recipe.name,
            split=spec.evaluate.split,
            label=spec.examples.label,
            classes=getattr(spec.examples, "classes", None) or (),
            most=spec.explain.changed,
        )
        graph = {} if data.transform_graph is None else {"transform_graph": data.transform_graph}
        yield ChangeFinder(
            examples=data.examples,
            baseline=baseline,
            predictions=predictions[recipe.name],
            spec=asked.model_dump_json(),
            **graph,
            **task,
        ).with_id(f"changes__{recipe.name}")

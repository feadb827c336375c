"""The accuracy bound of a recipe with `keep_float: auto`, from the recipe, `evaluate`, and `gate`."""

from __future__ import annotations

from components.facts.slices import OVERALL
from components.spec.convert import AccuracyBound
from components.spec.ranges import AutoKeepFloat
from components.spec.recipe import Recipe
from pipelines.file.spec import PipelineSpec


def asks_for_fewest_float(recipe: Recipe) -> AutoKeepFloat | None:
    """Return the recipe's `keep_float` if it is `auto`."""
    keep_float = recipe.scheme.kept_float
    return keep_float if isinstance(keep_float, AutoKeepFloat) else None


def tolerated_loss(spec: PipelineSpec) -> float | None:
    """Return the gate's first bound on the first metric that is relative to the baseline and covers the whole split."""
    metric = spec.evaluate.metrics[0]
    for bound in spec.gate.metrics:
        loss = bound.max_rise_from_baseline if metric.less_is_better else bound.max_drop_from_baseline
        if bound.name == metric.name and set(bound.slices) <= {OVERALL} and loss is not None:
            return loss
    return None


def accuracy_bound(spec: PipelineSpec, recipe: Recipe) -> AccuracyBound | None:
    """Return the bound that a conversion must meet on the calibration sample; None without `keep_float: auto`.

    Args:
        spec: A pipeline that passed its cross-field checks.
        recipe: One of its recipes.
    """
    keep_float, metric = asks_for_fewest_float(recipe), spec.evaluate.metrics[0]
    max_drop = keep_float.max_drop if keep_float and keep_float.max_drop is not None else tolerated_loss(spec)
    if keep_float is None or max_drop is None or metric.less_is_better is None:
        return None
    return AccuracyBound(
        metric=metric.name,
        class_name=metric.class_name,
        config=metric.config,
        less_is_better=metric.less_is_better,
        max_drop=max_drop,
        label=spec.examples.label,
        outputs=spec.evaluate.outputs,
    )

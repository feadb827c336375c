"""The report's section on why candidates differ from their float models, with the errors of their layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import yaml

from components.core.values import FrozenModel
from components.facts.explanation import Explanation, LayerError, decibels
from components.spec.recipe import Recipe
from pipelines.report.figures import OTHER, PASSED, SPLIT, chart, legend_above, plain, shorten, svg
from pipelines.report.summary import RunSummary
from pipelines.report.wording import figure

# More bars would not be distinguishable. The table lists all.
_MOST_BARS = 24
# Bars end here: smaller errors don't matter.
_EXACT = 80.0
# Below this, the error is more than a tenth of the signal.
_SOUND = 20.0


class WhyView(FrozenModel):
    """One candidate's section.

    Attributes:
        found: The explanation.
        result: The result, in one sentence.
        picture: SVG; None if there is nothing to draw.
    """

    found: Explanation
    result: str
    picture: str | None


def why_views(summary: RunSummary) -> list[WhyView]:
    """Return the sections of all candidates that are quantized, in the order of the pipeline file."""
    order = [one.name for one in summary.candidates]
    found = sorted(summary.explanations, key=lambda one: order.index(one.recipe) if one.recipe in order else len(order))
    return [
        WhyView(found=one, result=result_of(one), picture=_picture(one, f"why{index}"))
        for index, one in enumerate(found)
    ]


def result_of(found: Explanation) -> str:
    """Describe the result of an explanation: the first faulty layer with its cause, or the layers with most error."""
    if found.unavailable:
        return f"There is no explanation: {found.unavailable.rstrip('.')}."
    worst = max(found.outputs.values(), default=0.0)
    reached = f"The signal-to-noise ratio of the output is {in_decibels(worst)}"
    if found.faults:
        first = found.faults[0]
        return f"{reached}. The first bad layer is {first.layer} ({first.operator}): {first.evidence}."
    most = [f"{one.layer} ({in_decibels(one.own)})" for one in found.noisiest[:3]]
    rest = f" These add the most error: {', '.join(most)}." if most else ""
    return f"{reached}, and no single layer is bad.{rest}"


def in_decibels(error: float) -> str:
    """Format a relative error as a signal-to-noise ratio."""
    ratio = decibels(error)
    return "exact" if math.isinf(ratio) else f"{figure(ratio, 1)} dB"


def as_yaml(recipe: dict[str, Any]) -> str:
    """A recipe as one line of a pipeline file. Steps have only the fields that differ from their defaults."""
    if recipe.get("steps"):
        steps = Recipe.model_validate(recipe).steps
        short = [{"kind": one.kind, **one.model_dump(mode="json", exclude_defaults=True)} for one in steps]
        recipe = {**recipe, "steps": short}
    return "- " + yaml.safe_dump(recipe, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _picture(found: Explanation, salt: str) -> str | None:
    layers = _drawn(found.layers)
    if not layers:
        return None
    faulty = {one.tensor for one in found.faults}
    with chart(0.27 * len(layers) + 1.4) as axes:
        places = range(len(layers), 0, -1)
        bad = [one.tensor in faulty for one in layers]
        axes.barh(
            places,
            [_length(one.own) for one in layers],
            height=0.62,
            edgecolor=[SPLIT if each else PASSED for each in bad],
            # Also use hatching, because not everyone can distinguish the colors.
            facecolor=["none" if each else PASSED for each in bad],
            hatch=["////" if each else "" for each in bad],
        )
        totals = [_length(one.total) for one in layers]
        axes.plot(
            totals, list(places), color=OTHER, marker="D", markersize=4, linewidth=1, label="with all earlier ones"
        )
        axes.axvline(_SOUND, color=OTHER, linewidth=0.8, linestyle=":")
        axes.set_xlim(0, _EXACT)
        axes.set_yticks(list(places), [plain(shorten(one.layer, 26)) for one in layers])
        axes.set_ylim(0.3, len(layers) + 0.7)
        axes.set_xlabel("signal to noise, dB")
        legend_above(axes)
        return svg(axes.figure, salt)


def _drawn(layers: Sequence[LayerError]) -> list[LayerError]:
    """The layers that add the most error, in the order of execution."""
    worst = sorted(range(len(layers)), key=lambda index: -layers[index].own)[:_MOST_BARS]
    return [layers[index] for index in sorted(worst)]


def _length(error: float) -> float:
    return min(max(decibels(error), 0.0), _EXACT)

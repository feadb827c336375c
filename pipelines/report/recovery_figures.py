"""Charts of accuracy recovery: a clipped range, and the error from quantizing each layer alone."""

from __future__ import annotations

from collections.abc import Sequence

from components.facts.conversion import ActivationRange, LayerSensitivity
from pipelines.report.figures import OTHER, PASSED, SPLIT, _density, plain, shorten, style, svg

_MOST_BARS = 24


def sensitivity(layers: Sequence[LayerSensitivity], salt: str) -> str | None:
    """Draw the output error that each layer adds, on a logarithmic scale; None if no layer adds any."""
    drawn = [layer for layer in layers if layer.error > 0][:_MOST_BARS]
    if not drawn:
        return None
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(3.8, 0.27 * len(drawn) + 1.1), layout="constrained")
        axes = figure.subplots()
        places = range(len(drawn), 0, -1)
        least = min(layer.error for layer in drawn)
        colors = [SPLIT if layer.kept_float else PASSED for layer in drawn]
        axes.barh(
            places,
            [layer.error for layer in drawn],
            height=0.62,
            edgecolor=colors,
            # Hatching too, because not everyone can distinguish the colors.
            facecolor=["none" if layer.kept_float else PASSED for layer in drawn],
            hatch=["////" if layer.kept_float else "" for layer in drawn],
        )
        axes.set_xscale("log")
        axes.set_xlim(left=least / 3)
        axes.set_yticks(list(places), [plain(shorten(layer.layer, 26)) for layer in drawn])
        axes.set_ylim(0.3, len(drawn) + 0.7)
        axes.set_xlabel("relative error (log)")
        return svg(figure, salt)


def clipped_range(fact: ActivationRange, salt: str) -> str | None:
    """Draw the values of one tensor with the chosen range; None if all values are the same."""
    low, high = fact.histogram_bounds
    if not (fact.histogram and high > low):
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    with style():
        figure = Figure(figsize=(3.8, 2.6), layout="constrained")
        axes = figure.subplots()
        edges, densities = _density((low, high), fact.histogram)
        axes.stairs(densities, edges, color=OTHER, linewidth=1.6, fill=False)
        for bound in fact.chosen:
            axes.axvline(bound, color=SPLIT, linewidth=1.6, linestyle="--")
        axes.axvspan(*fact.chosen, color=SPLIT, alpha=0.12, linewidth=0)
        # Most values are near zero. On a linear scale, clipped values would be invisible.
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("density (log)")
        axes.set_xlabel("values")
        return svg(figure, salt)

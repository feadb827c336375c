"""The report's section on what changed: flips, and the examples that changed most."""

from __future__ import annotations

from collections.abc import Sequence

from components.core.values import FrozenModel
from components.facts.changes import Changes
from pipelines.report.figures import BLESSED, OTHER, PASSED, SPLIT
from pipelines.report.summary import RunSummary

_COLORS = (PASSED, SPLIT, BLESSED, OTHER)
_WIDTH, _HEIGHT = 160.0, 80.0


class ChangedView(FrozenModel):
    """One candidate's section: the changes, and the result in one sentence."""

    found: Changes
    result: str


def changed_views(summary: RunSummary) -> list[ChangedView]:
    """Return the sections of all candidates, in the order of the pipeline file."""
    order = [one.name for one in summary.candidates]
    found = sorted(summary.changes, key=lambda one: order.index(one.recipe) if one.recipe in order else len(order))
    return [ChangedView(found=one, result=result_of(one)) for one in found]


def result_of(found: Changes) -> str:
    """Say how many answers changed, and in which direction."""
    if found.unavailable:
        return f"{found.unavailable[0].upper()}{found.unavailable[1:].rstrip('.')}."
    of = f"Of {found.examples:,} examples"
    if found.lost is not None and found.gained is not None:
        return (
            f"{of}, {found.lost:,} that the baseline gets right become wrong, and {found.gained:,} that it gets wrong "
            "become right."
        )
    if found.answered is not None:
        return f"{of}, {found.answered:,} get a class other than the baseline's."
    largest = max((one.distance for one in found.worst), default=0.0)
    return f"{of}, the output that changed most changed by {largest:.3g} of the usual size of an output."


def curve_svg(curves: Sequence[Sequence[float]]) -> str:
    """Draw the curves of a series, all on the same scale, as an SVG element."""
    values = [value for curve in curves for value in curve]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    lines = []
    for index, curve in enumerate(curves):
        step = _WIDTH / max(1, len(curve) - 1)
        points = " ".join(
            f"{place * step:.1f},{_HEIGHT - (value - low) / span * _HEIGHT:.1f}" for place, value in enumerate(curve)
        )
        color = _COLORS[index % len(_COLORS)]
        lines.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.2"/>')
    return f'<svg viewBox="0 -2 {_WIDTH:g} {_HEIGHT + 4:g}" aria-hidden="true">{"".join(lines)}</svg>'

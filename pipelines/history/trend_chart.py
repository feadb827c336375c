"""Draws a chart of the chosen candidates over time for one device, in the style of the report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipelines.report.figures import BLESSED, OTHER, chart, legend_above, plain, svg


def trend(
    nights: Sequence[datetime],
    values: Sequence[float],
    label: str,
    salt: str,
    baseline: Sequence[float] | None = None,
) -> str | None:
    """Draw values over the start times of runs; None for fewer than two. `salt` must be unique in the document."""
    if len(nights) < 2:
        return None
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    with chart(2.6) as axes:
        if baseline is not None:
            axes.plot(nights, baseline, color=OTHER, linestyle="--", linewidth=1, label="float baseline")
        axes.plot(nights, values, color=BLESSED, marker="o", markersize=4, linewidth=1.2, label="chosen candidate")
        locator = AutoDateLocator(maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_ylabel(plain(label.replace("_", " ")))
        if baseline is not None:
            legend_above(axes)
        return svg(axes.figure, salt)

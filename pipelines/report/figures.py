"""Charts as inline SVG. The same summary gives the same bytes, and text has the color of the page.

Labels are in a column next to the axes, so that no label covers another or a point.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from components.facts.audit import RangeFact
from components.facts.conversion import Converted
from components.facts.decision import Decision
from components.facts.device import VelaFacts
from components.facts.evaluation import CandidateReport, MetricValue
from components.facts.slices import overall
from pipelines.report.summary import RunSummary

# Contrast of at least 3:1 on white and near-black, as WCAG 2.1 requires for graphics. Text needs more, so it has the
# page's color.
BLESSED, PASSED, OTHER, SPLIT = "#1a8f4c", "#2f7fd1", "#8a8f98", "#c2701c"
# Placeholder for currentColor, which matplotlib doesn't support.
_INK = "#010203"
_STYLE = {
    "svg.fonttype": "path",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


class _Point:
    """One candidate in a chart."""

    def __init__(self, candidate: CandidateReport, x: float, y: MetricValue, summary: RunSummary) -> None:
        verdicts = {summary.verdict_on(candidate.name, device.name) for device in summary.devices}
        self.name, self.x, self.y = candidate.name, x, y
        self.color, self.marker = (
            (BLESSED, "s") if "blessed" in verdicts else (PASSED, "o") if "pass" in verdicts else (OTHER, "X")
        )


def accuracy_against_size(summary: RunSummary) -> str | None:
    """Draw the first metric with its interval against the file size; None without a converted candidate."""
    points = [
        _Point(candidate, candidate.outcome.inspection.file_bytes / 1024, metric, summary)
        for candidate, metric in _measured(summary)
        if isinstance(candidate.outcome, Converted)
    ]
    budgets = [device.max_file_bytes / 1024 for device in summary.devices if device.max_file_bytes is not None]
    return _scatter(summary, points, "file size, KiB", budgets, "size", _fronts(summary, "bytes"))


def accuracy_against_latency(summary: RunSummary) -> str | None:
    """Draw the first metric with its interval against host time relative to float; None without a latency ratio."""
    points = [
        _Point(candidate, candidate.latency.ratio, metric, summary)
        for candidate, metric in _measured(summary)
        if candidate.latency is not None and candidate.latency.ratio is not None
    ]
    fronts = _fronts(summary, "host time")
    return _scatter(summary, points, "host time, float TFLite model = 1", [1.0], "latency", fronts)


def accuracy_against_cycles(summary: RunSummary, device: str) -> str | None:
    """Draw the first metric with its interval against a device's NPU cycles; None if Vela counted none."""
    facts = {
        one.name: one.vela for report in summary.on_devices if report.device == device for one in report.candidates
    }
    points = [
        _Point(candidate, vela.cycles / 1000, metric, summary)
        for candidate, metric in _measured(summary)
        if isinstance(vela := facts.get(candidate.name), VelaFacts) and vela.cycles is not None
    ]
    fronts = [
        names
        for decision in summary.decisions
        if decision.device == device
        for names in _front(summary, decision, "NPU cycles")
    ]
    return _scatter(summary, points, "thousands of NPU cycles", [], f"cycles-{device}", fronts)


def _fronts(summary: RunSummary, cost: str) -> list[tuple[str, ...]]:
    """The Pareto fronts of all devices, each once."""
    return list(dict.fromkeys(names for one in summary.decisions for names in _front(summary, one, cost)))


def _front(summary: RunSummary, decision: Decision, cost: str) -> list[tuple[str, ...]]:
    names = decision.fronts.get(cost, ())
    return [names] if decision.metric == summary.first_metric and len(names) > 1 else []


def ranges(fact: RangeFact, salt: str) -> str | None:
    """Draw histograms of the sample and of its split, and the ranges of both halves; None if a range is empty."""
    if not (fact.sample[1] > fact.sample[0] and fact.split[1] > fact.split[0]):
        return None
    with chart(2.9, 2, 1, sharex=True, height_ratios=(3, 1)) as (top, bottom):
        for name, counts, color in (("split", fact.split_histogram, SPLIT), ("sample", fact.histogram, PASSED)):
            draw_density(top, fact.sample, counts, color, label=name)
        legend_above(top)
        rows = (("split", fact.split, SPLIT), *((f"half {i + 1}", half, PASSED) for i, half in enumerate(fact.halves)))
        for row, (_, (low, high), color) in enumerate(reversed(rows)):
            bottom.plot([low, high], [row, row], color=color, linewidth=3, marker="|", markersize=9)
        bottom.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
        bottom.set_ylim(-0.6, len(rows) - 0.4)
        bottom.set_xlabel(plain(f"values of {fact.input or 'the input'}"))
        return svg(top.figure, salt)


def _measured(summary: RunSummary) -> list[tuple[CandidateReport, MetricValue]]:
    found = []
    for candidate in summary.candidates:
        whole = overall(candidate.slices)
        metric = whole.metrics.get(summary.first_metric or "") if whole else None
        if metric is not None and metric.value == metric.value:  # NaN can't be drawn.
            found.append((candidate, metric))
    return found


def _scatter(
    summary: RunSummary,
    points: Sequence[_Point],
    x_label: str,
    lines: Sequence[float],
    salt: str,
    fronts: Sequence[Sequence[str]],
) -> str | None:
    if not points:
        return None
    with chart(max(3.2, 0.24 * len(points) + 1.4)) as axes:
        for point in points:
            low = point.y.value if point.y.lower is None else point.y.lower
            high = point.y.value if point.y.upper is None else point.y.upper
            # An interval might not contain the estimate, and matplotlib refuses negative lengths.
            errors = [[max(0.0, point.y.value - low)], [max(0.0, high - point.y.value)]]
            style = {"color": point.color, "marker": point.marker, "markersize": 7, "capsize": 3, "elinewidth": 1.1}
            axes.errorbar(point.x, point.y.value, yerr=errors, **style)
        largest, smallest = max(point.x for point in points), min(point.x for point in points)
        if largest > 20 * smallest > 0:
            axes.set_xscale("log")
        else:
            axes.set_xlim(0, largest * 1.12)
        places = {point.name: (point.x, point.y.value) for point in points}
        for names in fronts:
            steps = [places[name] for name in names if name in places]
            axes.plot(*zip(*steps, strict=True), color=PASSED, linewidth=1.2, alpha=0.5, drawstyle="steps-post")
        right = axes.get_xlim()[1]
        for x in lines:
            if x <= right:
                axes.axvline(x, color=_INK, linewidth=0.8, linestyle=":", alpha=0.7)
        labels = [(point.y.value, point.x, point.name, point.color) for point in points]
        whole = overall(summary.evaluation.baseline_slices) if summary.evaluation else None
        name = summary.first_metric or ""
        baseline = whole.metrics.get(name) if whole else None
        if baseline is not None and baseline.value == baseline.value:
            axes.axhline(baseline.value, color=_INK, linewidth=0.8, linestyle="--", alpha=0.7)
            labels.append((baseline.value, right, "float baseline", _INK))
        axes.set_xlabel(x_label)
        axes.set_ylabel(plain(name.replace("_", " ")))
        axes.grid(axis="y", alpha=0.15, color=_INK)
        _label_beside(axes, labels)
        return svg(axes.figure, salt)


def _label_beside(axes: Any, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names in a column to the right of the axes, by height, at least one line apart, with lines to the points.

    The axes must have their final limits. A label is (y, x, name, color).
    """
    bottom, top = axes.get_ylim()
    line = 1.0 / max(13, len(labels))
    # Among points of the same height, the leftmost gets the highest label, so that their lines don't cross.
    ordered = sorted(labels, key=lambda label: (label[0], -label[1]))
    places = spread([(y - bottom) / (top - bottom) for y, *_ in ordered], line)
    for (y, x, name, color), place in zip(ordered, places, strict=True):
        leader = {"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.6, "shrinkB": 4, "relpos": (0, 0.5)}
        axes.annotate(
            plain(shorten(name)),
            xy=(x, y),
            xytext=(1.07, place),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            fontweight="bold" if color == BLESSED else "normal",
            annotation_clip=False,
            arrowprops=leader,
        )


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Return positions at least `gap` apart and at most 1, near the requested ones. Both are in ascending order."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else place)
    # Positions above the top move down again, and push the positions below them.
    ceiling = 1.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return places


def plain(text: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return text.replace("$", r"\$")


def shorten(name: str, longest: int = 16) -> str:
    """Shorten a name to fit next to a chart."""
    return name if len(name) <= longest else f"{name[: longest - 6]}…{name[-5:]}"


def draw_density(axes: Any, bounds: tuple[float, float], counts: Sequence[int], color: str, **options: Any) -> None:
    """Draw a histogram. On a linear scale, the bin of the background or of zero would hide all others."""
    from matplotlib.ticker import NullFormatter

    low, high = bounds
    width = (high - low) / len(counts)
    total = max(1, sum(counts))
    edges = [low + index * width for index in range(len(counts) + 1)]
    densities = [count / (total * width) for count in counts]
    axes.stairs(densities, edges, color=color, linewidth=1.6, fill=False, **options)
    axes.set_yscale("log")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("density (log)")


def legend_above(axes: Any) -> None:
    """Add a legend where it doesn't cover anything."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


@contextmanager
def chart(height: float, *grid: int, **options: Any) -> Iterator[Any]:
    """Open a chart with the style of the report. `grid` and `options` are as for matplotlib's `Figure.subplots`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({**mpl.rcParamsDefault, **_STYLE, "backend": "agg"}):
        yield Figure(figsize=(3.8, height), layout="constrained").subplots(*grid, **options)


def svg(figure: Any, salt: str) -> str:
    """Convert a figure to an SVG element. `salt` must be unique in the document."""
    import matplotlib as mpl

    mpl.rcParams["svg.hashsalt"] = salt
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)  # HTML doesn't need namespaces.
    # The column determines the width. Identifiers get a prefix, because the document contains several charts.
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text, count=1)
    text = re.sub(r'\bid="', f'id="{salt}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{salt}-", text)
    return text.replace(_INK, "currentColor")

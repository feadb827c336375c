"""Pictures as inline SVG: the same summary gives the same bytes, and text takes the color of the page around it.

Every label stands in a column of its own beside the axes, so none can cover another or a point.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from components.facts.audit import RangeFact
from components.facts.conversion import Converted
from components.facts.evaluation import CandidateReport, MetricValue
from components.facts.slices import overall
from pipelines.report.summary import RunSummary

# At least 3:1 on white and on near-black, the bound of WCAG 2.1 for graphics. Text needs more: it takes the page's.
BLESSED, PASSED, OTHER, SPLIT = "#1a8f4c", "#2f7fd1", "#8a8f98", "#c2701c"
# matplotlib knows no currentColor: this stands for it until the SVG is written.
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
    """One candidate in a picture."""

    def __init__(self, candidate: CandidateReport, x: float, y: MetricValue, summary: RunSummary) -> None:
        verdicts = {summary.verdict_on(candidate.name, device.name) for device in summary.devices}
        self.name, self.x, self.y = candidate.name, x, y
        self.color, self.marker = (
            (BLESSED, "s") if "blessed" in verdicts else (PASSED, "o") if "pass" in verdicts else (OTHER, "X")
        )


def accuracy_against_size(summary: RunSummary) -> str | None:
    """The first metric with its interval over the file's size; None without a converted candidate."""
    points = [
        _Point(candidate, candidate.outcome.inspection.file_bytes / 1024, metric, summary)
        for candidate, metric in _measured(summary)
        if isinstance(candidate.outcome, Converted)
    ]
    budgets = [device.max_file_bytes / 1024 for device in summary.devices if device.max_file_bytes is not None]
    return _scatter(summary, points, "file size, KiB", budgets, "size")


def accuracy_against_latency(summary: RunSummary) -> str | None:
    """The first metric with its interval over host time relative to float; None without a judged candidate."""
    points = [
        _Point(candidate, candidate.latency.ratio, metric, summary)
        for candidate, metric in _measured(summary)
        if candidate.latency is not None and candidate.latency.ratio is not None
    ]
    return _scatter(summary, points, "host time, float TFLite model = 1", [1.0], "latency")


def ranges(fact: RangeFact, salt: str) -> str | None:
    """Histograms of the sample and of its split, with the ranges of both halves below; None if a range is empty."""
    if not (fact.sample[1] > fact.sample[0] and fact.split[1] > fact.split[0]):
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    with style():
        figure = Figure(figsize=(3.8, 2.9), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for name, counts, color in (("split", fact.split_histogram, SPLIT), ("sample", fact.histogram, PASSED)):
            edges, densities = _density(fact.sample, counts)
            top.stairs(densities, edges, color=color, linewidth=1.6, label=name, fill=False)
        # Images are mostly background: on a linear scale one bin hides all others.
        top.set_yscale("log")
        top.yaxis.set_minor_formatter(NullFormatter())
        top.set_ylabel("density (log)")
        top.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
        rows = (("split", fact.split, SPLIT), *((f"half {i + 1}", half, PASSED) for i, half in enumerate(fact.halves)))
        for row, (_, (low, high), color) in enumerate(reversed(rows)):
            bottom.plot([low, high], [row, row], color=color, linewidth=3, marker="|", markersize=9)
        bottom.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
        bottom.set_ylim(-0.6, len(rows) - 0.4)
        bottom.set_xlabel(plain(f"values of {fact.input or 'the input'}"))
        return svg(figure, salt)


def _measured(summary: RunSummary) -> list[tuple[CandidateReport, MetricValue]]:
    name = summary.first_metric
    if summary.evaluation is None or name is None:
        return []
    found = []
    for candidate in summary.evaluation.candidates:
        whole = overall(candidate.slices)
        metric = whole.metrics.get(name) if whole else None
        if metric is not None and metric.value == metric.value:  # NaN has no place in a picture
            found.append((candidate, metric))
    return found


def _scatter(
    summary: RunSummary, points: Sequence[_Point], x_label: str, lines: Sequence[float], salt: str
) -> str | None:
    if not points:
        return None
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(3.8, max(3.2, 0.24 * len(points) + 1.4)), layout="constrained")
        axes = figure.subplots()
        for point in points:
            low = point.y.value if point.y.lower is None else point.y.lower
            high = point.y.value if point.y.upper is None else point.y.upper
            # An interval need not hold the estimate; matplotlib refuses negative lengths.
            errors = [[max(0.0, point.y.value - low)], [max(0.0, high - point.y.value)]]
            axes.errorbar(
                point.x,
                point.y.value,
                yerr=errors,
                color=point.color,
                marker=point.marker,
                markersize=7,
                capsize=3,
                elinewidth=1.1,
            )
        largest, smallest = max(point.x for point in points), min(point.x for point in points)
        if largest > 20 * smallest > 0:
            axes.set_xscale("log")
        else:
            axes.set_xlim(0, largest * 1.12)
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
        return svg(figure, salt)


def _label_beside(axes: Any, labels: Sequence[tuple[float, float, str, str]]) -> None:
    """Names in a column right of the axes, in order of height and never closer than one line, led to their points.

    Args:
        axes: With its final limits.
        labels: y, x, name, color.
    """
    bottom, top = axes.get_ylim()
    line = 1.0 / max(13, len(labels))
    # Of points at one height the leftmost gets the highest label: so their leaders do not cross.
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
    """Places at least `gap` apart and at most 1, near the wanted ones; both in ascending order."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap) if places else place)
    # What was pushed over the top moves down again, and pushes those below it.
    ceiling = 1.0
    for index in reversed(range(len(places))):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - gap
    return places


def plain(text: str) -> str:
    """A dollar sign would start a formula."""
    return text.replace("$", r"\$")


def shorten(name: str, longest: int = 16) -> str:
    """A name that fits beside a picture."""
    return name if len(name) <= longest else f"{name[: longest - 6]}…{name[-5:]}"


def _density(bounds: tuple[float, float], counts: Sequence[int]) -> tuple[list[float], list[float]]:
    low, high = bounds
    width = (high - low) / len(counts)
    total = max(1, sum(counts))
    return [low + index * width for index in range(len(counts) + 1)], [count / (total * width) for count in counts]


def style() -> Any:
    """The context that every picture is drawn in."""
    import matplotlib as mpl

    return mpl.rc_context({**mpl.rcParamsDefault, **_STYLE, "backend": "agg"})


def svg(figure: Any, salt: str) -> str:
    """A figure as an SVG element for a document in which `salt` is given once."""
    import matplotlib as mpl

    mpl.rcParams["svg.hashsalt"] = salt
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)  # inside HTML the namespaces are known
    # The width of the column rules; several pictures share one document, so identifiers get a prefix.
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text, count=1)
    text = re.sub(r'\bid="', f'id="{salt}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{salt}-", text)
    return text.replace(_INK, "currentColor")

"""Renders the report as one self-contained HTML file, with the verdict first."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from components.card.text import model_card
from components.core.files import write_atomically
from components.core.values import FrozenModel, serialized
from components.facts.artifact_paths import NODE_DATA_FOLDER
from components.facts.evaluation import SliceResult
from components.facts.node_data import node_data
from components.facts.slices import overall
from pipelines.report import figures, wording
from pipelines.report.champions import WORDS, champion_views
from pipelines.report.changed import changed_views, curve_svg
from pipelines.report.narrow import label_cells
from pipelines.report.sections import recovery_views, recurrent_views, training_pictures
from pipelines.report.summary import RunSummary, size_ratio
from pipelines.report.why import as_yaml, in_decibels, why_views
from pipelines.report.wording import in_words

if TYPE_CHECKING:
    from markupsafe import Markup

SUMMARY_NAME = "summary.json"
REPORT_NAME = "report.html"
CARDS_FOLDER = "cards"


class SliceCell(FrozenModel):
    """One candidate on one slice: the metric, its change, its flips as text, and the color intensity (-3..3)."""

    value: str
    change: str
    flips: str
    heat: int
    certain: bool


class SliceRow(FrozenModel):
    """One slice of the per-slice table."""

    slice: str
    examples: int
    baseline: str
    cells: tuple[SliceCell | None, ...]


class Picture(FrozenModel):
    """An SVG with its title and caption."""

    svg: str
    title: str
    caption: str


def render_report(summary: RunSummary) -> str:
    """Render a self-contained HTML document without scripts or external URLs. The same summary gives the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = _prose
    environment.globals.update(
        wording=wording,
        in_words=in_words,
        overall=overall,
        size_ratio=size_ratio,
        slice_rows=slice_rows,
        as_yaml=as_yaml,
        curve_svg=curve_svg,
        in_decibels=in_decibels,
        svg=Markup,  # figures.py draws glyphs as paths, so its output contains no text from users.
    )
    ranges = summary.audit.ranges if summary.audit else ()
    whole = overall(summary.evaluation.baseline_slices) if summary.evaluation else None
    html = environment.get_template("report.html").render(
        run=summary,
        metric=summary.first_metric,
        metrics=list(whole.metrics) if whole else [],
        converted=[one for one in summary.candidates if one.outcome.status == "converted"],
        # Candidates with the same cause share a footnote.
        latency_notes=list(
            dict.fromkeys(one.latency.note for one in summary.candidates if one.latency and one.latency.note)
        ),
        pictures=_pictures(summary),
        changed=changed_views(summary),
        champions=champion_views(summary),
        words=WORDS,
        why=why_views(summary),
        recovery=recovery_views(summary),
        recurrent=recurrent_views(summary),
        range_pictures=[figures.ranges(fact, f"range{index}") for index, fact in enumerate(ranges)],
        training_pictures=[training_pictures(one, f"training{index}") for index, one in enumerate(summary.trainings)],
        longest=max((node.seconds or 0.0 for node in summary.nodes), default=0.0),
    )
    return label_cells(html)


def _prose(text: object) -> Markup:
    """Text of a message as HTML: what is in backticks becomes code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def write_report(summary: RunSummary, folder: Path) -> Path:
    """Write the report, its summary, model cards, and node data of Model Explorer; return the path of `report.html`."""
    write_atomically(folder / SUMMARY_NAME, serialized(summary))
    write_atomically(folder / REPORT_NAME, render_report(summary).encode())
    for explanation in summary.explanations:
        for figure, content in node_data(explanation).items():
            path = folder / NODE_DATA_FOLDER / f"{explanation.recipe}.{figure}.json"
            write_atomically(path, content.encode())
    for device in summary.devices:
        facts = summary.card_of(device)
        if facts is not None:
            write_atomically(folder / CARDS_FOLDER / f"{device.name}.md", model_card(facts).encode())
            write_atomically(folder / CARDS_FOLDER / f"{device.name}.json", serialized(facts))
    return folder / REPORT_NAME


def slice_rows(summary: RunSummary, metric: str) -> list[SliceRow]:
    """Return the per-slice table of one metric: baseline and converted candidates, colored by change from the baseline.

    The color intensity has three levels, relative to the largest change in the table. A change is `certain` if its
    95 % confidence interval excludes zero.
    """
    if summary.evaluation is None:
        return []
    columns = [
        {result.slice: result for result in candidate.slices}
        for candidate in summary.candidates
        if candidate.outcome.status == "converted"
    ]
    changes = [
        abs(result.change[metric].value)
        for column in columns
        for result in column.values()
        if metric in result.change and math.isfinite(result.change[metric].value)
    ]
    most = max(changes, default=0.0)
    return [
        SliceRow(
            slice=result.slice,
            examples=result.examples,
            baseline=wording.with_interval(result.metrics.get(metric)),
            cells=tuple(_cell(column.get(result.slice), metric, most) for column in columns),
        )
        for result in summary.evaluation.baseline_slices
    ]


def _cell(result: SliceResult | None, metric: str, most: float) -> SliceCell | None:
    if result is None or metric not in result.metrics:
        return None
    change = result.change.get(metric)
    shown = wording.signed(change.value if change else None)
    heat, certain = 0, False
    # Rounding errors, such as those of a float file, are no change that a reader can see.
    if change is not None and math.isfinite(change.value) and shown.strip("+-0."):
        heat = math.ceil(3 * abs(change.value) / most - 1e-9) * (1 if change.value > 0 else -1)
        low, high = change.lower, change.upper
        certain = low is not None and high is not None and (low > 0 or high < 0)
    return SliceCell(
        value=wording.figure(result.metrics[metric].value),
        change=shown,
        flips=wording.flips(result.flips.get(metric)),
        heat=heat,
        certain=certain,
    )


def _pictures(summary: RunSummary) -> list[Picture]:
    if summary.evaluation is None or summary.first_metric is None:
        return []
    name = summary.first_metric.replace("_", " ")
    key = "Squares are blessed for a device, circles pass for one, crosses pass for none. Bars are 95 % intervals. "
    key += "Stepped line: Pareto front of those that pass."
    unjudged = [
        one.name
        for one in summary.candidates
        if one.outcome.status == "converted" and (one.latency is None or one.latency.ratio is None)
    ]
    missing = f" Not judged: {', '.join(unjudged)}." if unjudged else ""
    budgets = ", ".join(f"{d.name} {d.max_file_bytes / 1024:,.4g} KiB" for d in summary.devices if d.max_file_bytes)
    dotted = f" Dotted, if in range: budgets ({budgets})." if budgets else ""
    drawn = (
        (figures.accuracy_against_size(summary), f"{name} against file size", key + dotted),
        (
            figures.accuracy_against_latency(summary),
            f"{name} against host time",
            f"{key} Dotted: as fast as float.{missing}",
        ),
        *(
            (figures.accuracy_against_cycles(summary, device.name), f"{name} against NPU cycles of {device.name}", key)
            for device in summary.devices
        ),
    )
    return [
        Picture(svg=svg, title=title[:1].upper() + title[1:], caption=caption) for svg, title, caption in drawn if svg
    ]

"""The table at the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.facts.conversion import Converted
from components.facts.slices import overall
from pipelines.report import wording
from pipelines.report.champions import champion_sentence, is_warning
from pipelines.report.summary import RunSummary, size_ratio

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {"blessed": "bold green", "pass": "green", "fail": "red", "not_enough_data": "yellow"}


def render_table(summary: RunSummary) -> RenderableType:
    """Render candidates with the first metric, its interval, sizes, ratios, and verdicts, then warnings and pushes."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    title = f"{summary.pipeline}: {summary.headline}"
    name = summary.first_metric or "metric"
    table = Table(title=title, title_justify="left")
    table.add_column("candidate")
    # Text, not str: rich would parse brackets in names and intervals as markup.
    for heading in (f"{name} [95 %]", "bytes", "gzip", "smaller", "latency ratio"):
        table.add_column(Text(heading), justify="right")
    for device in summary.devices:
        table.add_column(device.name)
    for candidate in summary.candidates:
        whole = overall(candidate.slices)
        verdicts = [summary.verdict_on(candidate.name, device.name) for device in summary.devices]
        if isinstance(candidate.outcome, Converted):
            result = Text(wording.with_interval(whole.metrics.get(name) if whole else None))
            size = f"{candidate.outcome.inspection.file_bytes:,}"
        else:
            result = Text(f"conversion {wording.verdict(candidate.outcome.cause)}", style="red")
            size = wording.figure(None)
        table.add_row(
            Text(candidate.name),
            result,
            size,
            f"{candidate.compressed.gzip:,}" if candidate.compressed else wording.figure(None),
            wording.times(size_ratio(candidate, summary.evaluation)) if summary.evaluation else "",
            wording.figure(candidate.latency.ratio if candidate.latency else None, 2),
            *(Text(wording.verdict(verdict), style=_STYLES.get(verdict or "", "")) for verdict in verdicts),
        )
    for skipped in summary.skipped:
        unknown = [Text(wording.figure(None)) for _ in ("gzip", "smaller", "latency ratio")]
        table.add_row(
            Text(skipped.name),
            Text("skipped", style="yellow"),
            Text(wording.figure(None)),
            *unknown,
            *(Text(wording.verdict(None)) for _ in summary.devices),
        )
    # Errors of the audit stop the run and are listed as errors.
    findings = [
        finding for finding in (summary.audit.findings if summary.audit else ()) if finding.severity == "warning"
    ]
    lines = [Text(summary.rebuilt.sentence, style="dim")] if summary.rebuilt else []
    lines += [Text(f"{finding.where or finding.check}: {finding.message}", style="yellow") for finding in findings]
    lines += [Text(f"examples: {one.sentence}", style="yellow") for one in summary.left_out]
    lines += [Text(f"{one.name} is skipped: {'; '.join(one.reasons)}", style="yellow") for one in summary.skipped]
    for (subject, note, style), names in _notes(summary).items():
        lines.append(Text(f"{subject} of {', '.join(names)}: {note}", style=style))
    for device in summary.devices:
        release, decision = summary.release_for(device.name), summary.decision_for(device.name)
        if release is not None and release.pushed:
            places = f" to {1 + len(release.others)} registries" if release.others else ""
            note = ", signed" if release.signed else ""
            lines.append(
                Text(f"{device.name}: pushed {release.version} ({release.bytes:,} bytes){places}{note}", style="green")
            )
        else:
            passed = decision is not None and decision.verdict == "pass"
            why = summary.why_nothing(device.name)
            lines.append(Text(f"{device.name}: nothing pushed: {why}", style="red" if passed else "yellow"))
    for decision in summary.decisions:
        if sentence := champion_sentence(decision):
            style = "yellow" if is_warning(decision) else "dim"
            lines.append(Text(f"{decision.device}: {sentence}", style=style))
    # A run that failed before its evaluation has no candidates.
    head = table if table.row_count else Text(title, style="italic")
    return Group(head, *lines, *(Text(error, style="red") for error in summary.errors))


def _notes(summary: RunSummary) -> dict[tuple[str, str, str], list[str]]:
    """Map (subject, note, style) to the names of candidates, to print a shared note once."""
    notes: dict[tuple[str, str, str], list[str]] = {}
    for candidate in summary.candidates:
        if candidate.latency and candidate.latency.note:
            notes.setdefault(("latency", candidate.latency.note, "dim"), []).append(candidate.name)
        for fact in candidate.unequal_ranges:
            notes.setdefault(("ranges", wording.unequal(fact), "yellow"), []).append(candidate.name)
        if isinstance(candidate.outcome, Converted) and (proof := candidate.outcome.sparsity) is not None:
            note = "; ".join((wording.verdict(proof.verdict), *proof.reasons))
            style = "green" if proof.verdict == "proven" else "red" if proof.verdict == "lost" else "yellow"
            notes.setdefault(("sparsity", note, style), []).append(candidate.name)
    return notes

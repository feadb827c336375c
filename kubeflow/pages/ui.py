"""Content for the pages of Kubeflow Pipelines: metrics of each candidate, and the verdict with its reasons."""

from __future__ import annotations

import math

from components.facts.conversion import Converted
from components.facts.decision import Decision
from components.facts.evaluation import CandidateReport, EvaluationReport
from components.facts.slices import overall
from pipelines.report.champions import champion_sentence
from pipelines.report.summary import RunSummary, size_ratio
from pipelines.report.wording import in_words, verdict


def candidate_metrics(candidate: CandidateReport, evaluation: EvaluationReport) -> dict[str, float]:
    """Metrics of one candidate on the complete evaluation split, by name.

    Returns:
        Each metric and its change from the baseline, `file_bytes`, `times_smaller`, `latency_ratio` if there is one,
        and `converted` (1 or 0). Values that are not finite are left out, because the pages accept only numbers.
    """
    whole = overall(candidate.slices)
    figures = {"converted": float(isinstance(candidate.outcome, Converted))}
    if whole is not None:
        figures |= {name: metric.value for name, metric in whole.metrics.items()}
        figures |= {f"{name}_change": change.value for name, change in whole.change.items()}
    if isinstance(candidate.outcome, Converted):
        figures["file_bytes"] = float(candidate.outcome.inspection.file_bytes)
        figures["times_smaller"] = size_ratio(candidate, evaluation) or math.nan
    if candidate.latency is not None and candidate.latency.ratio is not None:
        figures["latency_ratio"] = candidate.latency.ratio
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def verdict_markdown(summary: RunSummary) -> str:
    """The verdict, release, and champion of each device, failed checks, skipped recipes, and facts of the baseline."""
    lines = [f"# {_plain(summary.pipeline)}: {summary.headline}", ""]
    if summary.rebuilt:
        lines += [summary.rebuilt.sentence, ""]
    for decision in summary.decisions:
        lines += [f"## {decision.device}: {verdict(decision.verdict)}", "", _plain(decision.why), ""]
        release = summary.release_for(decision.device)
        if release is not None and release.pushed:
            places = ", ".join(f"`{path}`" for path in (release.path, *release.other_paths))
            lines += [f"Delivered: version `{release.version}`, {release.bytes:,} bytes, {places}", ""]
        elif release is not None and release.staged:
            lines += [_plain(summary.why_nothing(decision.device)), ""]
        if sentence := champion_sentence(decision):
            lines += [f"{_plain(sentence[0].upper() + sentence[1:])}.", ""]
        lines += _failures(decision)
    if summary.skipped:
        lines += ["## Skipped recipes", "", "| recipe | scheme | why it cannot work on this model |", "|---|---|---|"]
        lines += [
            f"| {one.name} | {one.scheme} | {_cell(reason)} |" for one in summary.skipped for reason in one.reasons
        ]
    return "\n".join(lines).rstrip() + "\n"


def _failures(decision: Decision) -> list[str]:
    rows = [
        f"| {candidate.candidate} | {_cell(words.what)} | {_cell(words.where)} | {_cell(words.bound)} | "
        f"{_cell(words.measured)} | {verdict(words.verdict)} |"
        for candidate in decision.candidates
        for words in map(in_words, candidate.reasons)
    ]
    if not rows:
        return []
    head = ["| candidate | check | where | bound | measured | verdict |", "|---|---|---|---|---|---|"]
    return [*head, *rows, ""]


def _cell(text: object) -> str:
    return _plain(str(text)).replace("|", "\\|")


def _plain(text: str) -> str:
    # Errors of converters have several lines, and brackets that Markdown would read as HTML.
    return " ".join(text.split()).replace("<", "&lt;")

"""The report's section on ranges and on layers that stay float: its candidates and charts."""

from __future__ import annotations

from components.core.values import FrozenModel
from components.facts.conversion import ActivationRange, Converted, FloatSearch, LayerSensitivity
from components.facts.evaluation import CandidateReport
from pipelines.report import recovery_figures
from pipelines.report.summary import RunSummary

# Number of tensors, those clipped most first.
MOST_RANGES = 10


class RecoveryView(FrozenModel):
    """One candidate's section.

    Attributes:
        name: The candidate's name.
        options: `calibration_method` and `keep_float` as text.
        ranges: The tensors that were clipped most.
        more_ranges: Number of other tensors.
        sensitivity, search: As in `Converted`.
        range_picture, layer_picture: SVG; None if there is nothing to draw.
    """

    name: str
    options: str
    ranges: tuple[ActivationRange, ...]
    more_ranges: int
    sensitivity: tuple[LayerSensitivity, ...]
    search: FloatSearch | None
    range_picture: str | None
    layer_picture: str | None


def recovery_views(summary: RunSummary) -> list[RecoveryView]:
    """Return the sections of candidates with estimated ranges or float layers."""
    candidates = summary.evaluation.candidates if summary.evaluation else ()
    return [view for index, one in enumerate(candidates) if (view := _view(one, f"recovery{index}")) is not None]


def options_of(candidate: CandidateReport) -> str:
    """Return, for example, `calibration percentile 99.9, keep_float auto`; empty if neither option is used."""
    estimator, kept = candidate.recipe.scheme.range_estimator, candidate.recipe.scheme.kept_float
    options = []
    if estimator.kind != "min_max":
        options.append(f"calibration {estimator.kind}")
        if estimator.kind == "percentile":
            options[0] += f" {estimator.percentile:g}"
    if kept is not None:
        names = f" {', '.join(kept.names)}" if kept.kind == "layers" else " auto"
        options.append(f"keep_float{names}")
    return ", ".join(options)


def _view(candidate: CandidateReport, salt: str) -> RecoveryView | None:
    outcome, options = candidate.outcome, options_of(candidate)
    if not isinstance(outcome, Converted) or not options:
        return None
    # Without an estimator, the ranges are the observed ones, which needs no section.
    ranges = outcome.ranges if any(fact.clipped for fact in outcome.ranges) else ()
    return RecoveryView(
        name=candidate.name,
        options=options,
        ranges=ranges[:MOST_RANGES],
        more_ranges=max(0, len(ranges) - MOST_RANGES),
        sensitivity=outcome.sensitivity,
        search=outcome.search,
        range_picture=recovery_figures.clipped_range(ranges[0], f"{salt}r") if ranges else None,
        layer_picture=recovery_figures.sensitivity(outcome.sensitivity, f"{salt}s"),
    )

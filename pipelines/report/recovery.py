"""What the report shows of ranges and of layers that stay float: which candidates, and their pictures."""

from __future__ import annotations

from components.core.values import FrozenModel
from components.facts.conversion import ActivationRange, Converted, FloatSearch, LayerSensitivity
from components.facts.evaluation import CandidateReport
from pipelines.report import recovery_figures
from pipelines.report.summary import RunSummary

# Tensors with the largest differences; the rest say little.
MOST_RANGES = 10


class RecoveryView(FrozenModel):
    """One candidate's section.

    Attributes:
        name: The candidate's.
        options: `calibration_method` and `keep_float` in words.
        ranges: The tensors that were clipped most.
        more_ranges: How many others there are.
        sensitivity, search: As `Converted` has them.
        range_picture, layer_picture: SVG; None where there is nothing to draw.
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
    """Sections of the candidates that were recovered by estimated ranges or float layers."""
    candidates = summary.evaluation.candidates if summary.evaluation else ()
    return [view for index, one in enumerate(candidates) if (view := _view(one, f"recovery{index}")) is not None]


def options_of(candidate: CandidateReport) -> str:
    """`ranges percentile 99.9, keep_float auto`; empty for a candidate without these options."""
    estimator, kept = candidate.recipe.scheme.range_estimator, candidate.recipe.scheme.kept_float
    told = []
    if estimator.kind != "min_max":
        told.append(f"calibration {estimator.kind}")
        if estimator.kind == "percentile":
            told[0] += f" {estimator.percentile:g}"
    if kept is not None:
        names = f" {', '.join(kept.names)}" if kept.kind == "layers" else " auto"
        told.append(f"keep_float{names}")
    return ", ".join(told)


def _view(candidate: CandidateReport, salt: str) -> RecoveryView | None:
    outcome, options = candidate.outcome, options_of(candidate)
    if not isinstance(outcome, Converted) or not options:
        return None
    # Without an estimator the ranges are the observed ones: nothing to tell.
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

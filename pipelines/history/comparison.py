"""Compares the results of two runs: candidates, devices, and what changed in the recipes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from components.core.values import FrozenModel
from components.facts.slices import overall
from pipelines.report.status import CandidateStatus, DeviceStatus, candidate_status, device_status
from pipelines.report.summary import RunSummary


class ComparedRun(FrozenModel):
    """One of the two runs.

    Attributes:
        verdict: The verdict of the run.
        metric: Name of its first metric; None without an evaluation.
        baseline: The baseline's value of that metric.
        examples: Number of examples in its evaluation split.
    """

    pipeline: str
    run_id: str
    verdict: Literal["pushed", "staged", "refused", "failed"]
    metric: str | None
    baseline: float | None
    examples: int | None


class ComparedCandidate(FrozenModel):
    """A candidate in both runs.

    Attributes:
        name: Name of the recipe.
        before, after: Its figures; None if the run has no such candidate.
        same_recipe: Whether both runs used the same recipe.
    """

    name: str
    before: CandidateStatus | None
    after: CandidateStatus | None
    same_recipe: bool


class ComparedDevice(FrozenModel):
    """A device in both runs. `before` or `after` is None if the run has no such device."""

    device: str
    before: DeviceStatus | None
    after: DeviceStatus | None


class Comparison(FrozenModel):
    """Two runs side by side. Candidates and devices are in the order of the first run, then those of the second."""

    before: ComparedRun
    after: ComparedRun
    candidates: tuple[ComparedCandidate, ...]
    devices: tuple[ComparedDevice, ...]


def compare(before: RunSummary, after: RunSummary) -> Comparison:
    """Compare two runs, of one pipeline or of two."""
    return Comparison(
        before=_compared_run(before),
        after=_compared_run(after),
        candidates=tuple(
            _compared_candidate(name, before, after)
            for name in _either((one.name for one in before.candidates), (one.name for one in after.candidates))
        ),
        devices=tuple(
            ComparedDevice(
                device=name,
                before=device_status(name, before) if name in _devices(before) else None,
                after=device_status(name, after) if name in _devices(after) else None,
            )
            for name in _either(_devices(before), _devices(after))
        ),
    )


def _either(first: Iterable[str], second: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))


def _devices(summary: RunSummary) -> list[str]:
    return [device.name for device in summary.devices]


def _compared_run(summary: RunSummary) -> ComparedRun:
    whole = overall(summary.evaluation.baseline_slices) if summary.evaluation else None
    metric = summary.first_metric
    return ComparedRun(
        pipeline=summary.pipeline,
        run_id=summary.run_id,
        verdict=summary.verdict,
        metric=metric,
        baseline=whole.metrics[metric].value if whole and metric else None,
        examples=whole.examples if whole else None,
    )


def _compared_candidate(name: str, before: RunSummary, after: RunSummary) -> ComparedCandidate:
    first, second = (next((one for one in summary.candidates if one.name == name), None) for summary in (before, after))
    return ComparedCandidate(
        name=name,
        before=candidate_status(first, before) if first else None,
        after=candidate_status(second, after) if second else None,
        same_recipe=first is not None and second is not None and first.recipe == second.recipe,
    )

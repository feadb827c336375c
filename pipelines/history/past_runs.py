"""Finds past runs of a root and reads their summaries. Imports neither ML Metadata nor TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from components.core.errors import EdgemillError, StorageError, UnknownRunError, counted, damaged
from components.core.values import FrozenModel
from components.facts.conversion import Converted
from components.facts.slices import overall
from pipelines.report.render import REPORT_NAME, SUMMARY_NAME
from pipelines.report.summary import RunSummary
from pipelines.runs.run import PLAN_NAME, RunPlan

LATEST = "latest"
State = Literal["pushed", "staged", "refused", "failed", "unfinished", "unreadable"]


class FrontPoint(FrozenModel):
    """A candidate on the Pareto front of the first metric and the file size."""

    candidate: str
    value: float
    bytes: int


class DeviceResult(FrozenModel):
    """The result of a run for one device.

    Attributes:
        device: Name of the device profile.
        candidate: The candidate that the gate chose; None if it chose none.
        version: Version of the release; None if nothing was pushed.
        value: The candidate's first metric on the complete evaluation split.
        bytes: Size of the candidate's file.
        release: Address of the release in the first registry; None if nothing was pushed.
        front: The Pareto front of the candidates that pass, the smallest first.
    """

    device: str
    candidate: str | None = None
    version: str | None = None
    value: float | None = None
    bytes: int | None = None
    release: str | None = None
    front: tuple[FrontPoint, ...] = ()


class PastRun(FrozenModel):
    """One run of a root.

    Attributes:
        pipeline, run_id: The pipeline and the run.
        started: Start time, with time zone.
        seconds: Wall time; None if unknown.
        state: The verdict of a run that has ended. `unfinished` if it is still running or was killed, and `unreadable`
            if its files are damaged or come from a different version.
        metric: Name of the first metric; None if the run has no evaluation.
        baseline: The baseline's value of that metric.
        devices: One result for each device of the pipeline.
        folder: Where its files are.
        report: Whether the folder contains a report.
    """

    pipeline: str
    run_id: str
    started: datetime | None
    seconds: float | None = None
    state: State
    metric: str | None = None
    baseline: float | None = None
    devices: tuple[DeviceResult, ...] = ()
    folder: Path
    report: bool = False


def past_runs(root: Path, pipeline: str | None = None) -> list[PastRun]:
    """List the runs below a root, the newest first.

    Raises:
        UnknownRunError: No such pipeline has run here, or the root contains no runs.
    """
    found = [_past_run(folder) for folder in _folders(root, pipeline)]
    if not found:
        raise UnknownRunError(
            "no pipeline has run here" if pipeline is None else "no pipeline of this name has run here",
            where=str(root) if pipeline is None else f"--pipeline {pipeline}",
            bound="a root that `edgemill run` wrote",
            measured=None if pipeline is None else str(root),
            remedy="set the --root that the runs used" + ("" if pipeline is None else ", or choose another pipeline"),
        )
    # Run IDs begin with the time, so that they order runs whose plan cannot be read.
    return sorted(found, key=lambda run: run.run_id, reverse=True)


def find_past_run(root: Path, name: str) -> PastRun:
    """Find a run by its ID or as `latest`.

    Raises:
        UnknownRunError: There is no such run below the root.
    """
    runs = past_runs(root)
    if name == LATEST:
        return runs[0]
    for run in runs:
        if run.run_id == name:
            return run
    raise unknown_run(name, [run.run_id for run in runs], f"a run id that `edgemill runs` lists, or `{LATEST}`", root)


def unknown_run(name: str, known: Sequence[str], bound: str, root: Path | None = None) -> UnknownRunError:
    """The error for the name of a run that doesn't exist, with the closest one that does."""
    near = get_close_matches(name, [*known, LATEST], 1)
    return UnknownRunError(
        "there is no such run",
        where=name,
        bound=bound,
        measured=None if root is None else f"{counted(len(known), 'run')} in {root}",
        remedy=(f"did you mean {near[0]}? If not, " if near else "")
        + "choose one that `edgemill runs` lists, or set the --root of the run",
    )


def summary_of(run: PastRun) -> RunSummary:
    """Read the summary of a run.

    Raises:
        StorageError: The run has no summary, or its summary is damaged or comes from a different version.
    """
    path = run.folder / SUMMARY_NAME
    try:
        return RunSummary.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StorageError(
            "this run has no summary, because it is still running or was killed",
            where=str(path),
            measured=error.strerror,
            remedy=f"wait until it finishes, or write the summary with `edgemill report {run.run_id}`",
        ) from error
    except ValidationError as error:
        raise damaged(path, error) from error


def _folders(root: Path, pipeline: str | None) -> Iterator[Path]:
    for runs in root.glob("*/runs"):
        if pipeline in {None, runs.parent.name}:
            yield from (folder for folder in runs.glob("[!.]*") if (folder / PLAN_NAME).is_file())


def _past_run(folder: Path) -> PastRun:
    unread = PastRun(
        pipeline=folder.parent.parent.name,
        run_id=folder.name,
        started=None,
        state="unreadable",
        folder=folder,
        report=(folder / REPORT_NAME).is_file(),
    )
    try:
        plan = RunPlan.model_validate_json((folder / PLAN_NAME).read_bytes())
    except (OSError, ValidationError):
        return unread
    planned = unread.model_copy(update={"started": plan.started})
    if not (folder / SUMMARY_NAME).is_file():
        return planned.model_copy(update={"state": "unfinished"})
    try:
        summary = summary_of(planned)
    except EdgemillError:
        return planned
    return planned.model_copy(update=_of_summary(summary))


def _of_summary(summary: RunSummary) -> dict[str, object]:
    metric, evaluation = summary.first_metric, summary.evaluation
    whole = overall(evaluation.baseline_slices) if evaluation else None
    return {
        "seconds": summary.seconds,
        "state": summary.verdict,
        "metric": metric,
        "baseline": whole.metrics[metric].value if whole and metric else None,
        "devices": tuple(_device_result(summary, device.name) for device in summary.devices),
    }


def _device_result(summary: RunSummary, device: str) -> DeviceResult:
    decision, release = summary.decision_for(device), summary.release_for(device)
    measured = {point.candidate: point for point in _points(summary)}
    chosen = decision.chosen if decision else None
    point = measured.get(chosen or "")
    pushed = release if release and release.pushed else None
    on_front = decision.fronts.get("bytes", ()) if decision and decision.metric == summary.first_metric else ()
    return DeviceResult(
        device=device,
        candidate=chosen,
        version=pushed.version if pushed else None,
        value=point.value if point else None,
        bytes=point.bytes if point else None,
        release=pushed.path if pushed else None,
        front=tuple(measured[name] for name in on_front if name in measured),
    )


def _points(summary: RunSummary) -> Iterator[FrontPoint]:
    for candidate in summary.candidates:
        whole = overall(candidate.slices)
        metric = whole.metrics.get(summary.first_metric or "") if whole else None
        if metric is not None and isinstance(candidate.outcome, Converted):
            size = candidate.outcome.inspection.file_bytes
            yield FrontPoint(candidate=candidate.name, value=metric.value, bytes=size)

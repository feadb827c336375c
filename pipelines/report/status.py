"""What watches a run reads one short file: how it stands, what was decided, with which figures. Its form is kept.

A field may be added while `format` stays; one that is renamed, removed or given another meaning raises it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import datetime
from typing import Literal

from components.core.values import FrozenModel
from components.facts.conversion import Converted
from components.facts.evaluation import CandidateReport, MetricValue
from components.facts.slices import overall
from pipelines.report.checks import CheckWords, in_words
from pipelines.report.summary import NodeFact, RunSummary, size_ratio

# What may change what a run computes, or how it is stored.
_LIBRARIES = ("edgemill", "tfx", "tensorflow", "tf-keras", "ml-metadata", "apache-beam")


class ReleaseStatus(FrozenModel):
    """What the registry holds for a device.

    Attributes:
        version: Of the release.
        path: Its folder.
        bytes, sha256: Of its model file.
        compressed_bytes: Of what is served.
    """

    version: str | None
    path: str | None
    bytes: int | None
    sha256: str | None
    compressed_bytes: int | None


class DeviceStatus(FrozenModel):
    """What became of one device.

    Attributes:
        device: Name of the device profile.
        verdict: The gate's; None if it did not run.
        chosen: The blessed candidate; None without one.
        why: The gate's sentence.
        release: None if nothing was pushed.
    """

    device: str
    verdict: Literal["pass", "fail", "not_enough_data"] | None = None
    chosen: str | None = None
    why: str = ""
    release: ReleaseStatus | None = None


class CandidateStatus(FrozenModel):
    """The figures of one candidate, on the whole evaluation split.

    Attributes:
        name: The recipe's.
        scheme: Kind of its numeric format.
        status: Whether its conversion yielded a file.
        error: Why not; empty if it did.
        sha256, bytes: Of its file.
        gzip_bytes: Of the file under gzip.
        times_smaller: Than the float32 file.
        latency_ratio: Host time over the float32 file's; None where nothing can be said.
        metrics: Name -> value with its 95 % confidence interval.
        change: Name -> candidate minus baseline on the same examples.
        verdicts: Device -> `blessed`, `pass`, `fail` or `not_enough_data`; None where the gate did not run.
        reasons: Device -> the checks that did not pass.
    """

    name: str
    scheme: str
    status: Literal["converted", "failed"]
    error: str = ""
    sha256: str | None = None
    bytes: int | None = None
    gzip_bytes: int | None = None
    times_smaller: float | None = None
    latency_ratio: float | None = None
    metrics: dict[str, MetricValue] = {}
    change: dict[str, MetricValue] = {}
    verdicts: dict[str, Literal["blessed", "pass", "fail", "not_enough_data"] | None] = {}
    reasons: dict[str, tuple[CheckWords, ...]] = {}


class RunStatus(FrozenModel):
    """One run, for programs: what `edgemill run --summary-json` writes when it starts, and again when it ends.

    Attributes:
        format: Of this file.
        state: `running` until the process ends by itself. A file that says so although no process `pid` lives on
            `host` is of a run that was killed.
        exit_status: The process's; None as long as it runs.
        exit_meaning: Name of the exit status (`OK`, `GATE_REFUSED`); empty as long as it runs.
        pipeline_file: As it was given.
        pid, host: The process.
        started, ended: In UTC.
        seconds: From start to end of the process.
        pipeline, run_id: None if the run did not get that far.
        verdict: `pushed` for at least one device, `refused` by every gate, or `failed`; None if nothing ran.
        devices, candidates, nodes: In the order of the pipeline.
        failed: Node id -> why it failed.
        errors: All that went wrong, with remedies.
        report, details, log: Paths of `report.html`, `summary.json` and the log.
        versions: Of Python, Edgemill and the libraries.
    """

    format: Literal[1] = 1
    state: Literal["running", "ended"]
    exit_status: int | None = None
    exit_meaning: str = ""
    pipeline_file: str
    pid: int
    host: str
    started: datetime
    ended: datetime | None = None
    seconds: float | None = None
    pipeline: str | None = None
    run_id: str | None = None
    verdict: Literal["pushed", "refused", "failed"] | None = None
    devices: tuple[DeviceStatus, ...] = ()
    candidates: tuple[CandidateStatus, ...] = ()
    nodes: tuple[NodeFact, ...] = ()
    failed: dict[str, str] = {}
    errors: tuple[str, ...] = ()
    report: str | None = None
    details: str | None = None
    log: str | None = None
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Name -> version of what a run is made with; nothing is imported."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # TensorFlow's other distributions have other names
    return found


def with_summary(status: RunStatus, summary: RunSummary) -> RunStatus:
    """The same status with all that a run's summary tells."""
    return status.model_copy(
        update={
            "pipeline": summary.pipeline,
            "run_id": summary.run_id,
            "verdict": summary.verdict,
            "devices": tuple(_device(device.name, summary) for device in summary.devices),
            "candidates": tuple(
                _candidate(one, summary) for one in (summary.evaluation.candidates if summary.evaluation else ())
            ),
            "nodes": summary.nodes,
            "failed": {node.id: node.message for node in summary.nodes if node.state == "failed"},
            "errors": summary.errors,
        }
    )


def _device(name: str, summary: RunSummary) -> DeviceStatus:
    decision, release = summary.decision_for(name), summary.release_for(name)
    return DeviceStatus(
        device=name,
        verdict=decision.verdict if decision else None,
        chosen=decision.chosen if decision else None,
        why=decision.why if decision else "",
        release=ReleaseStatus(
            version=release.version,
            path=release.path,
            bytes=release.bytes,
            sha256=release.sha256,
            compressed_bytes=release.compressed_bytes,
        )
        if release and release.pushed
        else None,
    )


def _candidate(candidate: CandidateReport, summary: RunSummary) -> CandidateStatus:
    outcome, whole = candidate.outcome, overall(candidate.slices)
    devices = [device.name for device in summary.devices]
    return CandidateStatus(
        name=candidate.name,
        scheme=candidate.recipe.scheme.kind,
        status=outcome.status,
        error="" if isinstance(outcome, Converted) else f"{outcome.message}. Remedy: {outcome.remedy}",
        sha256=candidate.sha256,
        bytes=outcome.inspection.file_bytes if isinstance(outcome, Converted) else None,
        gzip_bytes=candidate.compressed.gzip if candidate.compressed else None,
        times_smaller=size_ratio(candidate, summary.evaluation) if summary.evaluation else None,
        latency_ratio=candidate.latency.ratio if candidate.latency else None,
        metrics=whole.metrics if whole else {},
        change=whole.change if whole else {},
        verdicts={name: summary.verdict_on(candidate.name, name) for name in devices},
        reasons={
            decision.device: tuple(map(in_words, one.reasons))
            for decision in summary.decisions
            for one in decision.candidates
            if one.candidate == candidate.name and one.reasons
        },
    )

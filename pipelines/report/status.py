"""The machine-readable status of a run: its state, decisions, and figures, in a stable format.

New fields don't change `format`. Renaming or removing a field, or changing its meaning, increments it.
"""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import datetime
from typing import Literal

from components.core.values import FrozenModel
from components.facts.conversion import Converted
from components.facts.decision import ChampionVerdict
from components.facts.evaluation import CandidateReport, MetricValue
from components.facts.left_out import LeftOut
from components.facts.slices import overall
from pipelines.file.load import SkippedRecipe
from pipelines.report.summary import NodeFact, RunSummary, size_ratio
from pipelines.report.wording import CheckWords, in_words

# Libraries that can affect the results of a run, or how they are stored.
_LIBRARIES = ("edgemill", "tfx", "tensorflow", "tf-keras", "ml-metadata", "apache-beam")


class ReleaseStatus(FrozenModel):
    """The release for a device.

    Attributes:
        version: Version of the release.
        path: Folder or address of the release in the first registry.
        other_paths: Folders or addresses in the other registries.
        bytes, sha256: Size and digest of its model file.
        compressed_bytes: Size of the compressed file that is served.
        signed: Whether the channel of every registry is signed.
    """

    version: str | None
    path: str | None
    other_paths: tuple[str, ...] = ()
    bytes: int | None
    sha256: str | None
    compressed_bytes: int | None
    signed: bool = False


class ChampionStatus(FrozenModel):
    """The last release of a device, which candidates were compared with.

    Attributes:
        state: `found`; `none` if the device has no release; `unknown` if a registry couldn't be read.
        decides: Whether a candidate that is worse is refused (`champion: require`).
        version, sha256, path: The release; None without one.
        why: Why nothing was compared; empty otherwise.
        notes: What else to keep in mind.
        verdicts: Candidate -> `pass`, `fail` (worse), `not_enough_data`, or `same`; None if it wasn't compared.
        reasons: Candidate -> the checks that it didn't pass.
    """

    state: Literal["found", "none", "unknown"]
    decides: bool
    version: str | None = None
    sha256: str | None = None
    path: str | None = None
    why: str = ""
    notes: tuple[str, ...] = ()
    verdicts: dict[str, Literal["pass", "fail", "not_enough_data", "same"] | None] = {}
    reasons: dict[str, tuple[CheckWords, ...]] = {}


class DeviceStatus(FrozenModel):
    """The result for one device.

    Attributes:
        device: Name of the device profile.
        verdict: The gate's verdict; None if the gate didn't run.
        chosen: The blessed candidate; None without one.
        why: The gate's reason.
        release: The release; None if nothing was pushed.
        staged: Why the release is only staged: which registry was unreachable; empty otherwise.
        champion: The comparison with the device's last release; None without one.
    """

    device: str
    verdict: Literal["pass", "fail", "not_enough_data"] | None = None
    chosen: str | None = None
    why: str = ""
    release: ReleaseStatus | None = None
    staged: str = ""
    champion: ChampionStatus | None = None


class CandidateStatus(FrozenModel):
    """The figures of one candidate, on the complete evaluation split.

    Attributes:
        name: Name of the recipe.
        scheme: Kind of its scheme.
        status: Whether the conversion produced a file.
        error: Reason for a failure; empty otherwise.
        sha256, bytes: Digest and size of its file.
        gzip_bytes: Size of the file under gzip.
        times_smaller: Size of the float32 file divided by the size of this file.
        latency_ratio: Host time divided by the float32 file's; None if the times couldn't be compared.
        latency_lower, latency_upper: 95 % confidence interval of that ratio.
        latency_note: Why there is no ratio, or something else to keep in mind; empty otherwise.
        metrics: Name -> value with its 95 % confidence interval.
        change: Name -> candidate minus baseline on the same examples.
        verdicts: Device -> `blessed`, `pass`, `fail`, or `not_enough_data`; None if the gate didn't run.
        reasons: Device -> the checks that didn't pass.
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
    latency_lower: float | None = None
    latency_upper: float | None = None
    latency_note: str = ""
    metrics: dict[str, MetricValue] = {}
    change: dict[str, MetricValue] = {}
    verdicts: dict[str, Literal["blessed", "pass", "fail", "not_enough_data"] | None] = {}
    reasons: dict[str, tuple[CheckWords, ...]] = {}


class RunStatus(FrozenModel):
    """One run, for programs: `edgemill run --summary-json` writes it at the start and at the end of a run.

    Attributes:
        format: Version of this format.
        state: `running` until the process ends by itself. If the state is `running`, but `host` has no process `pid`,
            the run was killed.
        exit_status: Exit status of the process; None while it runs.
        exit_meaning: Name of the exit status (`OK`, `GATE_REFUSED`); empty while it runs.
        pipeline_file: The pipeline file as given.
        pid, host: The process.
        started, ended: Times in UTC.
        seconds: Duration of the process.
        pipeline, run_id: The pipeline and the run; None if the run didn't get that far.
        verdict: `pushed` for at least one device, `staged` because a registry was unreachable, `refused` by every gate,
            or `failed`; None if nothing ran.
        devices, candidates, nodes: Results in the order of the pipeline.
        skipped: Recipes of the pipeline file that cannot work on the model, with the reasons.
        left_out: Damaged files that were left out of the examples, for each split or for all.
        failed: Node ID -> why it failed.
        errors: All errors, with how to fix them.
        report, details, log: Paths of `report.html`, `summary.json`, and the log.
        versions: Versions of Python, Edgemill, and the libraries.
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
    verdict: Literal["pushed", "staged", "refused", "failed"] | None = None
    devices: tuple[DeviceStatus, ...] = ()
    candidates: tuple[CandidateStatus, ...] = ()
    nodes: tuple[NodeFact, ...] = ()
    skipped: tuple[SkippedRecipe, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    failed: dict[str, str] = {}
    errors: tuple[str, ...] = ()
    report: str | None = None
    details: str | None = None
    log: str | None = None
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Map the names of Python, Edgemill, and the libraries to their versions, without importing them."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # TensorFlow's other distributions have different names.
    return found


def with_summary(status: RunStatus, summary: RunSummary) -> RunStatus:
    """Return the status with the content of a run's summary."""
    return status.model_copy(
        update={
            "pipeline": summary.pipeline,
            "run_id": summary.run_id,
            "verdict": summary.verdict,
            "devices": tuple(device_status(device.name, summary) for device in summary.devices),
            "candidates": tuple(candidate_status(one, summary) for one in summary.candidates),
            "nodes": summary.nodes,
            "skipped": summary.skipped,
            "left_out": summary.left_out,
            "failed": {node.id: node.message for node in summary.nodes if node.state == "failed"},
            "errors": summary.errors,
        }
    )


def device_status(name: str, summary: RunSummary) -> DeviceStatus:
    """Return the result of a run for one of its devices."""
    decision, release = summary.decision_for(name), summary.release_for(name)
    return DeviceStatus(
        device=name,
        verdict=decision.verdict if decision else None,
        chosen=decision.chosen if decision else None,
        why=decision.why if decision else "",
        release=ReleaseStatus.model_validate(release, from_attributes=True) if release and release.pushed else None,
        staged=release.error if release and release.staged else "",
        champion=_champion_status(decision.champion) if decision and decision.champion else None,
    )


def _champion_status(found: ChampionVerdict) -> ChampionStatus:
    reasons = {
        one.candidate: tuple(in_words(check) for check in one.checks if check.verdict != "pass")
        for one in found.candidates
    }
    return ChampionStatus(
        state=found.state,
        decides=found.mode == "require",
        version=found.version,
        sha256=found.sha256,
        path=found.path,
        why=found.why,
        notes=found.notes,
        verdicts={one.candidate: one.verdict for one in found.candidates},
        reasons={name: checks for name, checks in reasons.items() if checks},
    )


def candidate_status(candidate: CandidateReport, summary: RunSummary) -> CandidateStatus:
    """Return the figures of one candidate of a run."""
    outcome, latency, whole = candidate.outcome, candidate.latency, overall(candidate.slices)
    devices = [device.name for device in summary.devices]
    return CandidateStatus(
        name=candidate.name,
        scheme=candidate.recipe.scheme.kind,
        status=outcome.status,
        error="" if isinstance(outcome, Converted) else f"{outcome.message}. Remedy: {summary.remedy_for(candidate)}",
        sha256=candidate.sha256,
        bytes=outcome.inspection.file_bytes if isinstance(outcome, Converted) else None,
        gzip_bytes=candidate.compressed.gzip if candidate.compressed else None,
        times_smaller=size_ratio(candidate, summary.evaluation) if summary.evaluation else None,
        latency_ratio=latency.ratio if latency else None,
        latency_lower=latency.lower if latency else None,
        latency_upper=latency.upper if latency else None,
        latency_note=latency.note if latency else "",
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

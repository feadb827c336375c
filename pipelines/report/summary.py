"""All reported facts about one run, as a typed value for the report and the terminal's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Literal, Protocol, TypeVar

from components.card.facts import CardFacts, card_facts
from components.core.values import FrozenModel
from components.facts.artifact_paths import (
    CHANGES_FILE,
    DEVICE_REPORT_FILE,
    EXPLANATION_FILE,
    REBUILT_FILE,
    TRAINING_FILE,
)
from components.facts.audit import AuditReport
from components.facts.changes import Changes
from components.facts.decision import Decision, Verdict
from components.facts.device import DeviceReport
from components.facts.evaluation import CandidateReport, EvaluationReport
from components.facts.explanation import Explanation
from components.facts.left_out import LeftOut
from components.facts.slices import overall
from components.facts.training import TrainingReport, named_by_recipes
from components.model.keras3.facts import RebuiltFacts
from components.push.delivery import OUTCOME_NAME, PushOutcome
from components.spec.card import CardSpec
from components.spec.devices.advice import for_devices
from components.spec.devices.device import DeviceProfile
from components.spec.recipe import STEP_KINDS
from pipelines.file.load import SkippedRecipe
from pipelines.graph.steps import BASELINE_NODE

V = TypeVar("V", bound=FrozenModel)
NodeState = Literal["complete", "cached", "failed", "running", "not_run"]


class NodeFact(FrozenModel):
    """The result of one node.

    Attributes:
        state: `cached` means that an earlier run's outputs were reused.
        seconds: Wall time; None if it didn't run.
        message: The error of a failed node.
        shown: Its ID for display, with the name of a recipe instead of a digest; empty if that is the ID itself.
    """

    id: str
    state: NodeState
    seconds: float | None = None
    message: str = ""
    shown: str = ""

    @property
    def label(self) -> str:
        """Its ID for display."""
        return self.shown or self.id


class LineageNode(FrozenModel):
    """One artifact or execution, and its children, which it was made from.

    Attributes:
        label: Name for display.
        kind: Type in ML Metadata, `execution`, `run`, or `releases`.
        details: Figures and digests, in display order.
        files: Example files that an execution read -> their digests or versions. Empty if there are more than 1,000.
    """

    label: str
    kind: str
    details: dict[str, str] = {}
    files: dict[str, str] = {}
    children: tuple[LineageNode, ...] = ()


class RunSummary(FrozenModel):
    """One run of a pipeline.

    Attributes:
        pipeline: Name of the pipeline.
        run_id: The run's ID in ML Metadata.
        started: Start time, with time zone.
        seconds: Wall time of the run; None if unknown.
        verdict: `pushed` for at least one device, `staged` because a registry was unreachable, `refused` by every gate,
            or `failed`.
        nodes: In order of execution.
        evaluation: The evaluation; None if the run didn't get that far.
        explanations: Why candidates differ from their float models, for each candidate that is quantized.
        changes: The changes in the answers of candidates.
        rebuilt: How closely the baseline follows the model of Keras 3 that it was rebuilt from; None for any other
            baseline.
        trainings: Results of the training steps.
        on_devices: Results of device tools, for each device that declares some.
        decisions: One per device whose gate ran.
        devices: The pipeline's device profiles.
        skipped: Recipes of the pipeline file that cannot work on the model, and why.
        left_out: Damaged files that ingestion left out, for each split or for all.
        about: Facts for model cards from the pipeline file.
        releases: One per device whose pusher ran.
        finish_push: How to finish the push of a staged release; empty for `edgemill push`.
        audit: Audit of the calibration sample; None without one.
        lineage: Lineage of the pushed models.
        errors: Error messages, each with a fix.
    """

    pipeline: str
    run_id: str
    started: datetime
    seconds: float | None = None
    verdict: Literal["pushed", "staged", "refused", "failed"]
    nodes: tuple[NodeFact, ...] = ()
    evaluation: EvaluationReport | None = None
    explanations: tuple[Explanation, ...] = ()
    changes: tuple[Changes, ...] = ()
    rebuilt: RebuiltFacts | None = None
    trainings: tuple[TrainingReport, ...] = ()
    on_devices: tuple[DeviceReport, ...] = ()
    decisions: tuple[Decision, ...] = ()
    devices: tuple[DeviceProfile, ...] = ()
    skipped: tuple[SkippedRecipe, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    about: CardSpec = CardSpec()
    releases: tuple[PushOutcome, ...] = ()
    finish_push: str = ""
    audit: AuditReport | None = None
    lineage: LineageNode | None = None
    errors: tuple[str, ...] = ()

    @property
    def candidates(self) -> tuple[CandidateReport, ...]:
        """The evaluated candidates; empty if the run didn't get that far."""
        return self.evaluation.candidates if self.evaluation else ()

    def card_of(self, device: DeviceProfile) -> CardFacts | None:
        """Return the facts for the card of the model that a device's gate chose; None if it chose none."""
        decision = self.decision_for(device.name)
        chosen = next((one for one in self.candidates if decision is not None and one.name == decision.chosen), None)
        if decision is None or chosen is None or chosen.sha256 is None or chosen.outcome.status != "converted":
            return None
        return card_facts(
            self.pipeline,
            device,
            chosen,
            decision,
            baseline=self.evaluation.baseline_slices if self.evaluation else (),
            explanation=self.explanation_of(chosen.name),
            about=self.about,
        )

    def explanation_of(self, candidate: str) -> Explanation | None:
        """Return the explanation of a candidate; None if it isn't quantized, or the run didn't get that far."""
        return next((one for one in self.explanations if one.recipe == candidate), None)

    @property
    def headline(self) -> str:
        """The verdict, with the number of devices if only some got a release."""
        reached = sum(release.pushed for release in self.releases)
        if self.verdict == "pushed" and reached < len(self.devices):
            return f"pushed to {reached} of {len(self.devices)} devices"
        return self.verdict

    @property
    def first_metric(self) -> str | None:
        """The first of `evaluate.metrics` in the pipeline file, which tables and charts show."""
        slices = self.evaluation.baseline_slices if self.evaluation else ()
        whole = overall(slices)
        return next(iter(whole.metrics), None) if whole else None

    def decision_for(self, device: str) -> Decision | None:
        """Return the gate's decision for a device."""
        return next((decision for decision in self.decisions if decision.device == device), None)

    def release_for(self, device: str) -> PushOutcome | None:
        """Return the push result for a device."""
        return next((release for release in self.releases if release.device == device), None)

    def remedy_for(self, candidate: CandidateReport) -> str:
        """Return how to fix a failed conversion, with the schemes that the devices accept; empty if it didn't fail."""
        outcome = candidate.outcome
        if outcome.status != "failed":
            return ""
        return for_devices(outcome.remedy, candidate.recipe.scheme.kind, self.devices)

    def why_nothing(self, device: str) -> str:
        """Return why nothing was pushed for a device: the gate's reason, unless a candidate passed."""
        decision = self.decision_for(device)
        if decision is None:
            return "its gate did not run"
        if decision.verdict != "pass":
            return decision.why
        release = self.release_for(device)
        if release is not None and release.staged:
            finish = self.finish_push or f"run: edgemill push {self.run_id}"
            return (
                f"{decision.chosen} passed and is staged, because a registry was unreachable ({release.error})."
                f" To finish the push, {finish}"
            )
        return f"{decision.chosen} passed, but the push failed"

    def verdict_on(self, candidate: str, device: str) -> Verdict | Literal["blessed"] | None:
        """Return a device's verdict on a candidate; None if its gate didn't run."""
        decision = self.decision_for(device)
        if decision is None:
            return None
        if decision.chosen == candidate:
            return "blessed"
        return next((one.verdict for one in decision.candidates if one.candidate == candidate), None)


class ResultReader(Protocol):
    """Reads a file from the artifacts of a run."""

    def __call__(self, node: str, output: str, file: str, kind: type[V]) -> tuple[V, ...]:
        """Read the file from the output of every node whose ID begins with `node`, if it exists."""


def results(read: ResultReader, recipes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Read the results of a run as fields of a RunSummary. The verdict assumes a run without errors.

    `recipes` maps IDs of nodes that have a digest to the names of the recipes that use them.
    """
    releases = read("push__", "pushed", OUTCOME_NAME, PushOutcome)
    trainings = (read(f"{kind}__", "trained", TRAINING_FILE, TrainingReport) for kind in STEP_KINDS)
    return {
        "verdict": next(
            (state for state in ("pushed", "staged") if any(getattr(one, state) for one in releases)), "refused"
        ),
        "evaluation": next(iter(read("evaluate", "evaluation", "report.json", EvaluationReport)), None),
        "changes": read("changes__", "changes", CHANGES_FILE, Changes),
        "explanations": read("explain__", "explanation", EXPLANATION_FILE, Explanation),
        "rebuilt": next(iter(read(BASELINE_NODE, "model", REBUILT_FILE, RebuiltFacts)), None),
        "trainings": named_by_recipes(chain.from_iterable(trainings), recipes),
        "on_devices": read("device_check__", "facts", DEVICE_REPORT_FILE, DeviceReport),
        "decisions": read("gate__", "blessing", "decision.json", Decision),
        "releases": releases,
        "audit": next(iter(read("calibrate", "sample", "audit.json", AuditReport)), None),
    }


def size_ratio(candidate: CandidateReport, evaluation: EvaluationReport) -> float | None:
    """Return how many times smaller than the float32 file a candidate is; None if its conversion failed."""
    if candidate.outcome.status == "failed":
        return None
    return evaluation.baseline_bytes / candidate.outcome.inspection.file_bytes

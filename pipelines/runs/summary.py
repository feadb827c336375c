"""Collects everything that is reported about a run from ML Metadata and artifacts."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from components.core.errors import damaged
from components.core.values import FrozenModel
from components.facts.artifact_paths import DEVICE_REPORT_FILE, TRAINING_FILE
from components.facts.audit import AuditReport
from components.facts.decision import Decision
from components.facts.device import DeviceReport
from components.facts.evaluation import EvaluationReport
from components.facts.training import TrainingReport, named_by_recipes
from components.push.delivery import PushOutcome
from components.spec.recipe import STEP_KINDS
from pipelines.report.summary import LineageNode, NodeFact, RunSummary
from pipelines.runs.lineage import trace
from pipelines.runs.metadata import NodeRecord, run_records
from pipelines.runs.run import RunPlan
from pipelines.runs.verification import stored_file

V = TypeVar("V", bound=FrozenModel)


def summarize(store: Any, plan: RunPlan) -> RunSummary:
    """Summarize a run, finished or not.

    Args:
        store: A connected MetadataStore.
        plan: The run's plan.
    """
    records = run_records(store, plan.pipeline, plan.run_id)
    errors = plan.errors if plan.errors is not None else {"the run": "it has not ended, or was killed"}
    releases = _read_all(records, "push__", "pushed", "push.json", PushOutcome)
    verdict = "failed" if errors else "pushed" if any(release.pushed for release in releases) else "refused"
    return RunSummary(
        pipeline=plan.pipeline,
        run_id=plan.run_id,
        started=plan.started,
        seconds=max((record.ended for record in records.values()), default=plan.started.timestamp())
        - plan.started.timestamp(),
        verdict=verdict,
        nodes=tuple(_node_fact(node, records.get(node), errors.get(node, "")) for node in plan.nodes),
        evaluation=next(iter(_read_all(records, "evaluate", "evaluation", "report.json", EvaluationReport)), None),
        trainings=tuple(
            training
            for kind in STEP_KINDS
            for training in named_by_recipes(
                _read_all(records, f"{kind}__", "trained", TRAINING_FILE, TrainingReport), plan.recipes
            )
        ),
        on_devices=_read_all(records, "device_check__", "facts", DEVICE_REPORT_FILE, DeviceReport),
        decisions=_read_all(records, "gate__", "blessing", "decision.json", Decision),
        devices=plan.devices,
        releases=releases,
        audit=next(iter(_read_all(records, "calibrate", "sample", "audit.json", AuditReport)), None),
        lineage=_lineage(store, plan, records),
        errors=tuple(f"{node}: {error}" for node, error in errors.items()),
    )


def _node_fact(node: str, record: NodeRecord | None, error: str) -> NodeFact:
    if record is None:
        return NodeFact(id=node, state="not_run")
    return NodeFact(id=node, state=record.state, seconds=record.ended - record.began, message=error)


def _read_all(records: dict[str, NodeRecord], prefix: str, output: str, file: str, kind: type[V]) -> tuple[V, ...]:
    """Read `file` from the output of every node whose ID begins with `prefix`."""
    found = []
    for node, record in records.items():
        if node.startswith(prefix) and output in record.outputs:
            content = stored_file(record.outputs[output], file)
            try:
                found += [kind.model_validate_json(content)] if content is not None else []
            except ValidationError as error:
                raise damaged(f"{record.outputs[output].uri}/{file}", error) from error
    return tuple(found)


def _lineage(store: Any, plan: RunPlan, records: dict[str, NodeRecord]) -> LineageNode | None:
    pushed = [
        record.outputs["pushed"]
        for record in records.values()
        if "pushed" in record.outputs and record.outputs["pushed"].custom_properties["pushed"].int_value
    ]
    if not pushed:
        return None
    return LineageNode(
        label=plan.pipeline, kind="run", children=tuple(trace(store, each, compare=False) for each in pushed)
    )

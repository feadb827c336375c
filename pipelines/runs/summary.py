"""Collects all reported facts about a run from ML Metadata and artifacts."""

from __future__ import annotations

from functools import partial
from typing import Any

from pydantic import ValidationError

from components.core.errors import damaged
from components.facts.left_out import LEFT_OUT, LEFT_OUT_PROPERTY, LeftOut
from pipelines.graph.steps import shown_id
from pipelines.report.summary import LineageNode, NodeFact, RunSummary, V, results
from pipelines.runs.lineage import trace
from pipelines.runs.metadata import NodeRecord, run_records
from pipelines.runs.run import RunPlan
from pipelines.runs.verification import stored_file


def summarize(store: Any, plan: RunPlan) -> RunSummary:
    """Summarize a run, finished or not."""
    records = run_records(store, plan.pipeline, plan.run_id)
    errors = plan.errors if plan.errors is not None else {"the run": "it has not ended, or was killed"}
    began = plan.started.timestamp()
    found = results(partial(_read_all, records), plan.recipes)
    return RunSummary(
        pipeline=plan.pipeline,
        run_id=plan.run_id,
        started=plan.started,
        seconds=max((record.ended for record in records.values()), default=began) - began,
        nodes=tuple(_node_fact(plan, node, records.get(node), errors.get(node, "")) for node in plan.nodes),
        devices=plan.devices,
        skipped=plan.skipped,
        left_out=_left_out(records),
        about=plan.about,
        lineage=_lineage(store, plan, records),
        errors=tuple(f"{shown_id(node, plan.recipes)}: {error}" for node, error in errors.items()),
        **(found | {"verdict": "failed"} if errors else found),
    )


def _node_fact(plan: RunPlan, node: str, record: NodeRecord | None, error: str) -> NodeFact:
    shown = shown_id(node, plan.recipes) if node in plan.recipes else ""
    if record is None:
        return NodeFact(id=node, state="not_run", shown=shown)
    return NodeFact(id=node, shown=shown, state=record.state, seconds=record.ended - record.began, message=error)


def _read_all(records: dict[str, NodeRecord], node: str, output: str, file: str, kind: type[V]) -> tuple[V, ...]:
    found = []
    for name, record in records.items():
        if name.startswith(node) and output in record.outputs:
            content = stored_file(record.outputs[output], file)
            try:
                found += [kind.model_validate_json(content)] if content is not None else []
            except ValidationError as error:
                raise damaged(f"{record.outputs[output].uri}/{file}", error) from error
    return tuple(found)


def _left_out(records: dict[str, NodeRecord]) -> tuple[LeftOut, ...]:
    artifacts = (artifact for record in records.values() for artifact in record.outputs.values())
    found = (artifact.custom_properties[LEFT_OUT_PROPERTY].string_value for artifact in artifacts
             if LEFT_OUT_PROPERTY in artifact.custom_properties)  # fmt: skip
    return tuple(one for text in found for one in LEFT_OUT.validate_json(text))


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

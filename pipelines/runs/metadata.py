"""Reads and registers runs in ML Metadata. Needs neither TFX nor TensorFlow.

Queries don't use `filter_query`, which later releases of ml-metadata don't support.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

# Property of a run in ML Metadata: 1 if `edgemill clean` has removed its artifacts, or is about to.
REMOVED_PROPERTY = "edgemill_removed"
# Property of a run in ML Metadata: its pipeline. Its executions also have it, but a run killed early has none.
PIPELINE_PROPERTY = "edgemill_pipeline"


NodeState = Literal["running", "complete", "cached", "failed", "not_run"]


@dataclass(frozen=True)
class NodeRecord:
    """One node's execution in one run.

    Attributes:
        node: Node ID.
        state: State in ML Metadata.
        began, ended: Registration and last change of state, in seconds since the epoch.
        message: Reason for a failure; empty otherwise.
        outputs: Output name -> MLMD artifact.
    """

    node: str
    state: NodeState
    began: float
    ended: float
    message: str = ""
    outputs: dict[str, Any] = field(default_factory=dict)


def register_run(store: Any, pipeline: str, run_id: str) -> None:
    """Register a run before its first node runs. TFX uses the existing context."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    if store.get_context_by_type_and_name("pipeline_run", run_id) is not None:
        return
    kind = store.put_context_type(mlmd.ContextType(name="pipeline_run"), can_add_fields=True, can_omit_fields=True)
    context = mlmd.Context(type_id=kind, name=run_id)
    context.custom_properties[PIPELINE_PROPERTY].string_value = pipeline
    store.put_contexts([context])


def run_records(store: Any, pipeline: str, run_id: str, *, with_outputs: bool = True) -> dict[str, NodeRecord]:
    """Map the nodes of a run to their records in ML Metadata, without nodes that never started."""
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    if context is None:
        return {}
    executions = store.get_executions_by_context(context.id)
    nodes = {}
    for execution in executions:
        for of_execution in store.get_contexts_by_execution(execution.id):
            if of_execution.type == "node" and of_execution.name.startswith(f"{pipeline}."):
                nodes[execution.id] = of_execution.name.removeprefix(f"{pipeline}.")
    outputs = _outputs(store, nodes) if with_outputs else {}
    return {
        nodes[execution.id]: _record(nodes[execution.id], execution, outputs.get(execution.id, {}))
        for execution in executions
        if execution.id in nodes
    }


def transient_outcome(store: Any, pipeline: str, node: str) -> str:
    """Return the ID of a node's newest output, in any run, that another attempt might improve; empty if there is none.

    As a parameter of the node, it keeps only such outputs from being reused: a later success with the same inputs has
    the ID of the failure before it.
    """
    context = store.get_context_by_type_and_name("node", f"{pipeline}.{node}")
    artifacts = store.get_artifacts_by_context(context.id) if context is not None else []
    transient = [artifact.id for artifact in artifacts if artifact.custom_properties["transient"].int_value]
    return str(max(transient, default=""))


def latest_run(store: Any, pipeline: str | None = None) -> tuple[str, str] | None:
    """Return (pipeline, run ID) of the newest run of one pipeline or of any; None if there is none."""
    runs = store.get_contexts_by_type("pipeline_run")
    for context in sorted(runs, key=lambda run: run.create_time_since_epoch, reverse=True):
        name = pipeline_of_run(store, context.name)
        if name and pipeline in {None, name}:
            return name, context.name
    return None


def pipeline_of_run(store: Any, run_id: str) -> str | None:
    """Return the pipeline of a run; None for an unknown run."""
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    if context is None:
        return None
    for execution in store.get_executions_by_context(context.id):
        for other in store.get_contexts_by_execution(execution.id):
            if other.type == "pipeline":
                return str(other.name)
    return None


def _record(node: str, execution: Any, outputs: dict[str, Any]) -> NodeRecord:
    states: dict[int, NodeState] = {
        execution.COMPLETE: "complete",
        execution.CACHED: "cached",
        execution.FAILED: "failed",
        execution.CANCELED: "failed",
    }
    return NodeRecord(
        node=node,
        state=states.get(execution.last_known_state, "running"),
        began=execution.create_time_since_epoch / 1000,
        ended=execution.last_update_time_since_epoch / 1000,
        message=execution.custom_properties["__execution_result__"].string_value,
        outputs=outputs,
    )


def _outputs(store: Any, executions: Iterable[int]) -> dict[int, dict[str, Any]]:
    events = [
        event
        for event in store.get_events_by_execution_ids(list(executions))
        if event.type in {event.OUTPUT, event.INTERNAL_OUTPUT, event.DECLARED_OUTPUT}
    ]
    artifacts = {artifact.id: artifact for artifact in store.get_artifacts_by_id([e.artifact_id for e in events])}
    named: dict[int, dict[str, Any]] = {}
    for event in events:
        keys = [step.key for step in event.path.steps if step.HasField("key")]
        if keys and event.artifact_id in artifacts:
            named.setdefault(event.execution_id, {})[keys[0]] = artifacts[event.artifact_id]
    return named

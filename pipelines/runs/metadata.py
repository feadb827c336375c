"""Reads and registers runs in ML Metadata. Imports neither TFX nor TensorFlow.

Queries don't use `filter_query`, which later releases of ml-metadata don't support.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

from components.core.errors import UnknownRunError
from components.push.registry import registry_at
from pipelines.runs.releases import releases_of

# Property of a run in ML Metadata: 1 if `edgemill clean` has removed its artifacts, or is about to.
REMOVED_PROPERTY = "edgemill_removed"
# Property of a run in ML Metadata: its pipeline. Its executions also have it, but a run that was killed early has no
# executions.
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


class StateChanges:
    """Detects changes of the nodes' states between two readings of the store.

    A node whose outputs come from the cache is first registered as running for a few milliseconds. A watcher would then
    prepare for work that never comes, for example by importing TensorFlow for conversions. So a running node counts as
    a change only when it is seen for the second time.
    """

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._running: set[str] = set()

    def among(self, records: Iterable[NodeRecord], *, last: bool = False) -> Iterator[NodeRecord]:
        """Yield the changes, in the order in which nodes began. Set `last` for the reading after the run."""
        for record in sorted(records, key=lambda record: record.began):
            if record.state == "running" and record.node not in self._running and not last:
                self._running.add(record.node)
            elif self._states.get(record.node) != record.state:
                self._states[record.node] = record.state
                yield record


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
    # A push that was finished later has two executions; the last one counts.
    executions = sorted(store.get_executions_by_context(context.id), key=lambda one: one.id)
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
    """Return (pipeline, run ID) of the newest run of one pipeline or of any, or None if there isn't one."""
    runs = store.get_contexts_by_type("pipeline_run")
    # Sort by ID, because an earlier run can have a later time if the clock was wrong.
    for context in sorted(runs, key=lambda run: run.id, reverse=True):
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


def find_run(store: Any, name: str, *, what: str = "run", known: str = "or `latest`") -> tuple[str, str]:
    """Return (pipeline, run ID) of a run that a user names by its ID or as `latest`.

    Raises an UnknownRunError if there is none, which says `what` was looked up, and what is `known` besides IDs.
    """
    found = latest_run(store) if name == "latest" else (pipeline_of_run(store, name), name)
    if found is None or found[0] is None:
        others = [context.name for context in store.get_contexts_by_type("pipeline_run")]
        near = get_close_matches(name, others, 1)
        raise UnknownRunError(
            f"there is no such {what}",
            where=name,
            bound=f"a run id that `edgemill run` printed, {known}",
            remedy=(f"did you mean {near[0]}? If not, " if near else "")
            + "choose a run that `edgemill runs` lists, or set the --root or the --metadata of the run",
        )
    return found[0], found[1]


def _record(node: str, execution: Any, outputs: dict[str, Any]) -> NodeRecord:
    states: dict[int, NodeState] = {execution.COMPLETE: "complete", execution.CACHED: "cached"}
    states |= dict.fromkeys((execution.FAILED, execution.CANCELED), "failed")
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


class Run(NamedTuple):
    """A run in ML Metadata: the IDs of its context and of its executions."""

    context: int
    executions: set[int]


class History:
    """The records in ML Metadata of all runs of one pipeline, under any root."""

    def __init__(self, store: Any, pipeline: str) -> None:
        self._store = store
        whole = store.get_context_by_type_and_name("pipeline", pipeline)
        own = {one.id for one in store.get_executions_by_context(whole.id)} if whole is not None else set()
        self.runs: dict[str, Run] = {}
        self.removed: set[str] = set()
        for context in store.get_contexts_by_type("pipeline_run"):
            executions = {one.id for one in store.get_executions_by_context(context.id)} & own if own else set[int]()
            if executions or context.custom_properties[PIPELINE_PROPERTY].string_value == pipeline:
                self.runs[context.name] = Run(context.id, executions)
                if context.custom_properties[REMOVED_PROPERTY].int_value:
                    self.removed.add(context.name)
        self._inputs, self._outputs, self._makers = (defaultdict[int, set[int]](set) for _ in range(3))
        for event in store.get_events_by_execution_ids(sorted(own)) if own else ():
            if event.type in {event.OUTPUT, event.INTERNAL_OUTPUT, event.DECLARED_OUTPUT, event.PENDING_OUTPUT}:
                self._outputs[event.execution_id].add(event.artifact_id)
                self._makers[event.artifact_id].add(event.execution_id)
            else:
                self._inputs[event.execution_id].add(event.artifact_id)

    def made_by(self, runs: set[str]) -> set[int]:
        """Return the IDs of artifacts that runs produced or took from the cache."""
        numbers = [number for run in runs for number in self.runs[run].executions]
        return set().union(*(self._outputs.get(number, set()) for number in numbers))

    def artifacts_of(self, runs: set[str]) -> set[int]:
        """Return the IDs of artifacts that runs read, produced, or took from the cache."""
        numbers = [number for run in runs for number in self.runs[run].executions]
        return self.made_by(runs).union(*(self._inputs.get(number, set()) for number in numbers))

    def upstream(self, artifacts: set[int]) -> set[int]:
        """Return the IDs of artifacts and of everything that they were made from."""
        found: set[int] = set()
        waiting = set(artifacts)
        while waiting:
            found |= waiting
            makers = set().union(*(self._makers.get(one, set()) for one in waiting))
            waiting = set().union(*(self._inputs.get(one, set()) for one in makers)) - found
        return found

    def staged(self) -> set[str]:
        """Return the runs with a release that isn't in every registry yet."""
        artifacts = self._store.get_artifacts_by_id(sorted(self._makers))
        waiting = [one for one in artifacts if one.custom_properties["staged"].int_value]
        return {run for run, (_, made) in self.runs.items() for one in waiting if self._makers[one.id] & made}

    def releases(self) -> dict[str, tuple[str, set[int]]]:
        """Map runs to the address of a release in a registry, and to the IDs of the newest pushes by this run."""
        newest: dict[str, Any] = {}
        for artifact in sorted(self._store.get_artifacts_by_id(sorted(self._makers)), key=lambda one: one.id):
            for path in releases_of(artifact) if artifact.custom_properties["pushed"].int_value else ():
                if registry_at(path).exists(path):
                    newest[path] = artifact
        found: dict[str, tuple[str, set[int]]] = {}
        for path, artifact in newest.items():
            for run, (_, executions) in self.runs.items():
                if self._makers[artifact.id] & executions:
                    found[run] = (path, found.get(run, (path, set[int]()))[1] | {artifact.id})
        return found

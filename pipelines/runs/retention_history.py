"""Reads the runs, artifacts, and releases of a pipeline from ML Metadata, for retention."""

from __future__ import annotations

from typing import Any, NamedTuple

from components.push.registry import registry_at
from pipelines.runs.metadata import PIPELINE_PROPERTY, REMOVED_PROPERTY


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
        self._inputs: dict[int, set[int]] = {}
        self._outputs: dict[int, set[int]] = {}
        self._makers: dict[int, set[int]] = {}
        for event in store.get_events_by_execution_ids(sorted(own)) if own else ():
            if event.type in {event.OUTPUT, event.INTERNAL_OUTPUT, event.DECLARED_OUTPUT, event.PENDING_OUTPUT}:
                self._outputs.setdefault(event.execution_id, set()).add(event.artifact_id)
                self._makers.setdefault(event.artifact_id, set()).add(event.execution_id)
            else:
                self._inputs.setdefault(event.execution_id, set()).add(event.artifact_id)

    def made_by(self, runs: set[str]) -> set[int]:
        """Return the IDs of artifacts that runs made or took from the cache."""
        numbers = [number for run in runs for number in self.runs[run].executions]
        return set().union(*(self._outputs.get(number, set()) for number in numbers))

    def artifacts_of(self, runs: set[str]) -> set[int]:
        """Return the IDs of artifacts that runs read, made, or took from the cache."""
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

    def releases(self) -> dict[str, tuple[str, set[int]]]:
        """Map runs to the path of a release in a registry, and to the IDs of the newest pushes by this run."""
        newest: dict[str, Any] = {}
        for artifact in sorted(self._store.get_artifacts_by_id(sorted(self._makers)), key=lambda one: one.id):
            path = artifact.custom_properties["release_path"].string_value
            if path and artifact.custom_properties["pushed"].int_value and registry_at(path).exists(path):
                newest[path] = artifact
        found: dict[str, tuple[str, set[int]]] = {}
        for path, artifact in newest.items():
            for run, (_, executions) in self.runs.items():
                if self._makers[artifact.id] & executions:
                    found[run] = (path, found.get(run, (path, set[int]()))[1] | {artifact.id})
        return found

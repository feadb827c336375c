"""Runs as ML Metadata and a pipeline root hold them, without running anything."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.object_store.bucket import is_address
from pipelines.file.environment import Environment, environment
from pipelines.runs.run import RunPlan
from pipelines.storage.metadata_connection import open_store
from pipelines.storage.staging import Staging

NOW = datetime(2026, 7, 1, tzinfo=timezone.utc)
BYTES = 1000


class RecordedRuns:
    """A pipeline root with runs of one pipeline; every artifact is one file of 1,000 bytes.

    Attributes:
        place: The root, with SQLite inside.
        store: Its metadata store.
        artifacts: Name -> artifact id, as tests name them.
    """

    def __init__(
        self,
        root: Path,
        pipeline: str = "small",
        metadata_url: str | None = None,
        pipeline_root: str | None = None,
    ) -> None:
        self.place: Environment = environment(root, metadata_url, pipeline_root=pipeline_root)
        self._staging = Staging(self.place.staged(pipeline))
        self.store: Any = open_store(self.place.metadata_url)
        self.pipeline = pipeline
        self.artifacts: dict[str, int] = {}
        self._types = {
            name: self.store.put_context_type(mlmd.ContextType(name=name)) for name in ("pipeline", "pipeline_run")
        }
        self._node = self.store.put_execution_type(mlmd.ExecutionType(name="node"))
        self._kinds = {
            name: self.store.put_artifact_type(mlmd.ArtifactType(name=name)) for name in ("Model", "PushedModel")
        }
        found = self.store.get_context_by_type_and_name("pipeline", pipeline)
        self._whole = found.id if found else self._context("pipeline", pipeline)

    def run(self, run_id: str, days_ago: float, *, registered: bool = True) -> int:
        """A run that began so many days ago; returns its context, or 0 if the store is to know nothing of it."""
        folder = self.place.runs(self.pipeline) / run_id
        folder.mkdir(parents=True)
        plan = RunPlan(
            pipeline=self.pipeline,
            run_id=run_id,
            started=NOW - timedelta(days=days_ago),
            nodes=(),
            devices=(),
            artifacts=self.place.artifact_root(self.pipeline),
            errors={},
        )
        (folder / "run.json").write_text(plan.model_dump_json())
        return self._context("pipeline_run", run_id) if registered else 0

    def made(self, run: int, name: str, *inputs: str, release: Path | None = None, lost: bool = False) -> Path:
        """A node of a run that made its own artifact; `lost` was killed before it was recorded."""
        execution = self._execution(run, mlmd.Execution.FAILED if lost else mlmd.Execution.COMPLETE, inputs)
        uri = f"{self.place.artifact_root(self.pipeline)}/{name.partition(':')[0]}/out/{execution}"
        folder = Path(self._staging.local(uri))
        folder.mkdir(parents=True)
        (folder / "content").write_bytes(bytes(BYTES))
        if is_address(uri):
            self._staging.publish(uri)
        if lost:
            return folder
        artifact = mlmd.Artifact(
            type_id=self._kinds["PushedModel" if release else "Model"], uri=uri, state=mlmd.Artifact.LIVE
        )
        if release:
            artifact.custom_properties["pushed"].int_value = 1
            artifact.custom_properties["release_path"].string_value = str(release)
        (self.artifacts[name],) = self.store.put_artifacts([artifact])
        self._event(execution, self.artifacts[name], mlmd.Event.OUTPUT)
        return folder

    def cached(self, run: int, name: str, *inputs: str) -> None:
        """A node of a run that took an artifact from TFX's cache."""
        execution = self._execution(run, mlmd.Execution.CACHED, inputs)
        self._event(execution, self.artifacts[name], mlmd.Event.OUTPUT)

    def state(self, name: str) -> str:
        (artifact,) = self.store.get_artifacts_by_id([self.artifacts[name]])
        return mlmd.Artifact.State.Name(artifact.state)

    def states(self) -> dict[str, str]:
        return {name: self.state(name) for name in self.artifacts}

    def _context(self, kind: str, name: str) -> int:
        (number,) = self.store.put_contexts([mlmd.Context(type_id=self._types[kind], name=name)])
        return number

    def _execution(self, run: int, state: Any, inputs: tuple[str, ...]) -> int:
        (number,) = self.store.put_executions([mlmd.Execution(type_id=self._node, last_known_state=state)])
        associations = [mlmd.Association(execution_id=number, context_id=one) for one in (self._whole, run)]
        self.store.put_attributions_and_associations([], associations)
        for name in inputs:
            self._event(number, self.artifacts[name], mlmd.Event.INPUT)
        return number

    def _event(self, execution: int, artifact: int, kind: Any) -> None:
        self.store.put_events([mlmd.Event(execution_id=execution, artifact_id=artifact, type=kind)])

"""Runs a pipeline with a TFX runner, follows it through ML Metadata, and checks the result there."""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from errno import ENOSPC
from functools import partial
from typing import Any

from pydantic import ValidationError
from typing_extensions import assert_never

from components.core.errors import (
    DataError,
    EdgemillError,
    MetadataError,
    UnknownRunError,
    damaged,
    system_error,
    system_remedy,
)
from components.core.files import little_space, write_atomically
from components.core.user_code import exits_reported
from components.core.values import FrozenModel, serialized
from components.spec.card import CardSpec
from components.spec.devices.device import DeviceProfile
from components.upstream.beam import keep_beam_in_process
from components.upstream.tfx.cache import shared_keys
from components.upstream.tfx.orchestration import serialize_examples_in_one_order, set_run_id
from pipelines.file.environment import Environment
from pipelines.file.load import LoadedPipeline, SkippedRecipe
from pipelines.graph.steps import recipes_of_nodes
from pipelines.graph.tfx_start import defer_tfx_components
from pipelines.runs.metadata import NodeRecord, StateChanges, register_run, run_records, transient_outcome
from pipelines.runs.reuse import key_by_content
from pipelines.storage.metadata_connection import open_store, place_of_store
from pipelines.storage.staging import Staging

Watcher = Callable[[NodeRecord], None]

_LOG = logging.getLogger(__name__)
# Frequent enough to follow a run, and rare enough not to slow it down.
_POLL_SECONDS = 0.5
PLAN_NAME = "run.json"


class RunPlan(FrozenModel):
    """The plan of a run, stored as `run.json` in its folder before the first node runs.

    Attributes:
        pipeline, run_id: The run's pipeline and ID.
        started: Start time, in UTC.
        nodes: IDs of the nodes, in order.
        devices: The device profiles of the pipeline.
        artifacts: The place that its nodes write to; None in files of earlier versions.
        recipes: ID of a node that has a digest -> names of its recipes.
        skipped: Recipes of the pipeline file that cannot work on the model, and why.
        about: Facts for model cards from the pipeline file.
        errors: Node ID -> why it failed or is missing. Written at the end; None until then.
    """

    pipeline: str
    run_id: str
    started: datetime
    nodes: tuple[str, ...]
    devices: tuple[DeviceProfile, ...]
    artifacts: str | None = None
    recipes: dict[str, tuple[str, ...]] = {}
    skipped: tuple[SkippedRecipe, ...] = ()
    about: CardSpec = CardSpec()
    errors: dict[str, str] | None = None


def new_run_id() -> str:
    """Create a run ID that sorts by time and is unique among simultaneous runs."""
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def run_pipeline(
    loaded: LoadedPipeline,
    environment: Environment,
    run_id: str,
    watch: Watcher,
    digests: str | None = None,
    task_files: str = "",
) -> RunPlan:
    """Run all nodes of a pipeline. Results of earlier runs with the same inputs come from the cache.

    Regardless of what the runner returns, a failed or missing execution in ML Metadata is an error. `watch` is called
    in another thread when a node's state changes, but not if it runs only for a moment. `digests` and `task_files` are
    as for `build_pipeline`.

    Raises:
        DataError: An example file can't be read.
        MetadataError: The metadata store can't be reached, or was lost during the run.
    """
    defer_tfx_components()
    from ml_metadata.errors import StatusError
    from tfx.dsl.compiler.compiler import Compiler

    from pipelines.graph.build import build_pipeline
    from pipelines.storage.filesystem import register
    from pipelines.storage.operator import staged

    register()
    begun = datetime.now(timezone.utc)
    name, store = loaded.spec.name, open_store(environment.metadata_url)
    pipeline = Compiler().compile(
        build_pipeline(
            loaded,
            environment,
            attempt=run_id,
            retry=partial(transient_outcome, store, name),
            digests=digests,
            task_files=task_files,
        )
    )
    # Done so that the run can be followed from its first node on.
    set_run_id(pipeline, run_id)
    plan = RunPlan(
        pipeline=name,
        run_id=run_id,
        started=begun,
        nodes=tuple(node.pipeline_node.node_info.id for node in pipeline.nodes),
        devices=loaded.devices,
        artifacts=environment.artifact_root(name),
        recipes=recipes_of_nodes(loaded.spec.recipes),
        skipped=loaded.skipped,
        about=loaded.spec.card,
    )
    raised = ""
    try:
        begin(store, plan, environment)
        with _watched(environment.metadata_url, name, run_id, watch), staged(Staging(environment.staged(name))):
            try:
                keep_beam_in_process()
                serialize_examples_in_one_order()
                with exits_reported(), shared_keys(key_by_content):
                    _runner(environment).run_with_ir(pipeline)
            except Exception as error:
                _LOG.debug("the runner raised", exc_info=True)
                raised = _with_space(explain(error), little_space(environment.root))
        records = run_records(open_store(environment.metadata_url), name, run_id)
    except (StatusError, MetadataError) as error:
        # The state of the nodes is now unknown.
        raise MetadataError(
            "the metadata store was lost during the run",
            where=place_of_store(environment.metadata_url),
            measured=raised or explain(error),
            remedy=f"free up space ({full})"
            if (full := little_space(environment.root))
            else "make sure that it responds, and run again: recorded results come from the cache",
        ) from None
    ended = plan.model_copy(update={"errors": _errors(plan.nodes, records, raised)})
    _keep(ended, environment)
    return ended


def begin(store: Any, plan: RunPlan, environment: Environment) -> None:
    """Register a run, then create its folder. `clean` refuses a folder whose run isn't in the store."""
    register_run(store, plan.pipeline, plan.run_id)
    _keep(plan, environment)


def read_plan(environment: Environment, pipeline: str, run_id: str) -> RunPlan:
    """Read the plan of a run, with its errors if it has ended. Raises an UnknownRunError if it isn't below the root."""
    path = environment.runs(pipeline) / run_id / PLAN_NAME
    try:
        return RunPlan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UnknownRunError(
            "there is no such run",
            where=str(path),
            measured=error.strerror,
            remedy="specify a run that `edgemill run` printed, and the --root that it ran with",
        ) from error
    except ValidationError as error:
        raise damaged(path, error) from error


def _keep(plan: RunPlan, environment: Environment) -> None:
    path = environment.runs(plan.pipeline) / plan.run_id / PLAN_NAME
    write_atomically(path, serialized(plan))


def explain(error: BaseException) -> str:
    """Describe an error: the EdgemillError among its causes or, without one, its type and text without the stack."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        if isinstance(current, EdgemillError):
            return str(current)
        seen.append(current)
        current = current.__cause__ or current.__context__
    if isinstance(error, OSError) and error.errno is not None:
        return str(system_error(error))
    # Beam re-raises errors of its workers as text, with the stack before the message.
    text = str(error)
    for line in reversed(text.splitlines()):
        if "Remedy: " in line:
            return line.partition("Error: ")[2] or line
    if "Not a valid TFRecord" in text:
        # Beam's reader doesn't name the file. The preflight finds all such files except those beyond its budget for
        # gzipped data.
        return str(
            DataError(
                "a TFRecord file is truncated or damaged",
                where="examples.path",
                bound="complete records to the end of every file",
                remedy="find it with `gzip --test` and write it again",
            )
        )
    remedy = system_remedy(text)
    return f"{type(error).__name__}: {text.strip()}" + (f". Remedy: {remedy}" if remedy else "")


def _with_space(said: str, full: str) -> str:
    """Add that the disk is full, because messages of other libraries don't report it."""
    if not full:
        return said
    return f"{said}; {full}" if "Remedy: " in said else f"{said} ({full}). Remedy: {system_remedy(os.strerror(ENOSPC))}"


def _errors(nodes: tuple[str, ...], records: dict[str, NodeRecord], raised: str) -> dict[str, str]:
    errors = {}
    for node in nodes:
        record = records.get(node)
        if record is not None and record.state == "failed":
            errors[node] = raised or record.message or "it failed without an error message"
    if raised and not errors:
        errors["the runner"] = raised
    if not errors:
        for node in nodes:
            state = records[node].state if node in records else "not_run"
            if state not in {"complete", "cached"}:
                errors[node] = f"ML Metadata has no finished execution of this node (its state is {state})"
    return errors


def _runner(environment: Environment) -> Any:
    match environment.runner:
        case "local":
            from tfx.orchestration.local.local_dag_runner import LocalDagRunner

            return LocalDagRunner()
        case "beam":
            from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner

            return BeamDagRunner()
        case _:
            assert_never(environment.runner)


@contextmanager
def _watched(metadata_url: str, pipeline: str, run_id: str, watch: Watcher) -> Iterator[None]:
    """Report changes of state while the runner works, and the last ones when it ends."""
    kept: list[Any] = []
    changes = StateChanges()
    done = threading.Event()

    def look() -> None:
        store = kept.pop() if kept else open_store(metadata_url)
        found = run_records(store, pipeline, run_id, with_outputs=False).values()
        # Reuse a store only if it answered. Otherwise, ML Metadata's MySQL client kills the process.
        kept.append(store)
        for record in changes.among(found, last=done.is_set()):
            watch(record)

    def follow() -> None:
        while not done.wait(_POLL_SECONDS):
            try:
                look()
            except Exception:
                # A busy store is polled again. Success is decided elsewhere.
                _LOG.debug("the metadata store did not answer", exc_info=True)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        look()

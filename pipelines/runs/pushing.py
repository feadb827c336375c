"""Finishes the pushes of a run whose registry was unreachable.

The release waits in the run: the model that the gate chose, and its blessing. Both are verified again, and delivered in
the same way as by the push node. The result is recorded as another execution of that node, so that reports, lineage,
and retention see it. If this is interrupted, it can be repeated: a push of the same bytes changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.core.errors import MetadataError, RegistryError
from components.object_store.bucket import is_address
from components.push.delivery import PushOutcome, PushRequest, deliver, read_blessing
from components.push.outcome import lineage_of, record
from pipelines.runs.metadata import run_records
from pipelines.runs.verification import inputs_of, maker_of, opened
from pipelines.storage.staging import Staging


def finish_pushes(store: Any, pipeline: str, run_id: str, *, force: bool = False) -> Iterator[PushOutcome]:
    """Deliver the releases of a run that are staged, and yield the result of each. Other releases aren't touched.

    Args:
        store: The metadata store.
        pipeline, run_id: The run.
        force: Whether to push even if a later run has pushed another release for the device.

    Raises:
        TamperedError: The chosen model or its blessing was changed since the run.
        RegistryError: A registry refused the release, or a later run has pushed. If a registry is still unreachable,
            the outcome is `staged`.
        MetadataError: The metadata store lacks a required record.
    """
    for node, one in sorted(run_records(store, pipeline, run_id).items()):
        staged = one.outputs.get("pushed")
        if node.startswith("push__") and staged is not None and staged.custom_properties["staged"].int_value:
            if not force:
                _check_newest(store, staged)
            yield _finish(store, staged, run_id)


def _check_newest(store: Any, staged: Any) -> None:
    """Raise a RegistryError if a later push of the same node succeeded, because the staged release would replace it."""
    nodes = {one.id for one in store.get_contexts_by_artifact(staged.id) if one.type == "node"}
    for artifact in store.get_artifacts_by_type("PushedModel"):
        same = nodes & {one.id for one in store.get_contexts_by_artifact(artifact.id)}
        if artifact.id > staged.id and artifact.custom_properties["pushed"].int_value and same:
            raise RegistryError(
                "a later run has pushed another release, which this one would replace",
                where=staged.custom_properties["device"].string_value,
                measured=artifact.custom_properties["release_path"].string_value,
                remedy="keep the newer release; or, to replace it, push with --force",
            )


def _finish(store: Any, staged: Any, run_id: str) -> PushOutcome:
    maker = maker_of(store, staged)
    inputs = {} if maker is None else dict(inputs_of(store, maker))
    if not {"chosen", "blessing"} <= set(inputs):
        raise MetadataError(
            "the metadata store has no record of the inputs of this push",
            where=staged.uri,
            bound="inputs `chosen` and `blessing`",
            measured=", ".join(inputs) or "none",
            remedy="run the pipeline again: finished nodes come from the cache",
        )
    request = PushRequest.model_validate_json(_parameter(maker, "spec"))
    with opened(inputs["chosen"]) as chosen, opened(inputs["blessing"]) as blessing:
        decision = read_blessing(blessing, blessed=inputs["blessing"].custom_properties["blessed"].int_value)
        lineage = lineage_of(run_id, inputs["chosen"], inputs["blessing"])
        outcome = deliver(request, chosen, decision, blessing.manifest.sha256, lineage)
        if outcome.pushed:
            parents = {"chosen": chosen.manifest.sha256, "decision": blessing.manifest.sha256}
            _record(store, staged, maker, inputs, outcome, parents)
    return outcome


def _record(
    store: Any, staged: Any, maker: Any, inputs: dict[str, Any], outcome: PushOutcome, parents: dict[str, str]
) -> None:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    uri = f"{staged.uri.rstrip('/')}-finished"
    pushed = mlmd.Artifact(type_id=staged.type_id, uri=uri, state=mlmd.Artifact.LIVE)
    _copy_properties(staged, pushed)
    with tempfile.TemporaryDirectory() as copies:
        staging = Staging(Path(copies))
        folder = Path(staging.local(uri))
        folder.mkdir(parents=True, exist_ok=True)
        record(_Described(str(folder), pushed), outcome, parents, _parameter(maker, "code_version"))
        if is_address(uri):
            staging.publish(uri)
    execution = mlmd.Execution(type_id=maker.type_id, last_known_state=mlmd.Execution.COMPLETE)
    _copy_properties(maker, execution)
    for one in (*inputs.values(), staged):
        _copy_properties(one, one)
    events = [(artifact, _event(mlmd.Event.INPUT, role)) for role, artifact in inputs.items()]
    events.append((pushed, _event(mlmd.Event.OUTPUT, "pushed")))
    store.put_execution(execution, events, store.get_contexts_by_execution(maker.id))
    # Done last, so that an interrupted command is repeated.
    staged.custom_properties["staged"].int_value = 0
    store.put_artifacts([staged])


def _copy_properties(source: Any, target: Any) -> None:
    """Copy the custom properties. Reading a missing property creates an empty one, which makes ML Metadata abort."""
    copied = type(target)()
    for name, value in source.custom_properties.items():
        if value.WhichOneof("value"):
            copied.custom_properties[name].CopyFrom(value)
    target.ClearField("custom_properties")
    target.MergeFrom(copied)


class _Described:
    """A record of ML Metadata with the setters of a TFX artifact."""

    def __init__(self, uri: str, artifact: Any) -> None:
        self.uri, self._properties = uri, artifact.custom_properties

    def set_string_custom_property(self, name: str, value: str) -> None:
        self._properties[name].string_value = value

    def set_int_custom_property(self, name: str, value: int) -> None:
        self._properties[name].int_value = value

    def set_float_custom_property(self, name: str, value: float) -> None:
        self._properties[name].double_value = value


def _event(kind: Any, role: str) -> Any:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    event = mlmd.Event(type=kind)
    event.path.steps.add().key = role
    event.path.steps.add().index = 0
    return event


def _parameter(execution: Any, name: str) -> str:
    return str(execution.custom_properties[name].string_value)

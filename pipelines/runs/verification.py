"""Compares artifacts with their records in ML Metadata, in folders or in object stores."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.core.errors import TamperedError
from components.core.files import sha256_of
from components.core.stock_artifacts import CONTENT_PROPERTY, EMPTY, compare_content
from components.facts.manifest import MANIFEST_NAME, Manifest
from components.facts.verified import RECORDED, Verified, with_manifest
from components.object_store.bucket import is_address
from components.tfx.candidate_inputs import input_of
from pipelines.storage.staging import Staging, read


def stored_file(artifact: Any, name: str) -> bytes | None:
    """Read and compare one file of an Edgemill artifact; None if the artifact lacks the file or was removed.

    Raises:
        TamperedError: The file differs from its record.
        StorageError: The store can't be read.
    """
    content = read(artifact.uri, name)
    described = read(artifact.uri, MANIFEST_NAME)
    if content is None and described is None:
        return None
    one = with_manifest(artifact.uri, described or b"", _recorded(artifact))
    return None if content is None and name not in one.manifest.files else one.compared(name, content)


@contextmanager
def opened(artifact: Any) -> Iterator[Verified]:
    """Open an Edgemill artifact, in a folder or in an object store, and verify all its files.

    Raises:
        TamperedError: The artifact differs from its record.
        StorageError: The store can't be read.
    """
    with tempfile.TemporaryDirectory() as copies:
        staging = Staging(Path(copies))
        if is_address(artifact.uri):
            staging.fetch(artifact.uri)
        content = read(artifact.uri, MANIFEST_NAME) or b""
        found = with_manifest(staging.local(artifact.uri), content, _recorded(artifact))
        found.check()
        yield found


def has_digest(artifact: Any) -> bool:
    """Return whether ML Metadata has a digest of an artifact that isn't marked as deleted."""
    recorded = _recorded(artifact)
    return bool(recorded["manifest_sha256"] or recorded[CONTENT_PROPERTY]) and artifact.state != artifact.DELETED


def maker_of(store: Any, artifact: Any) -> Any:
    """Return the execution that wrote an artifact; None if no node did."""
    events = store.get_events_by_artifact_ids([artifact.id])
    makers = store.get_executions_by_id([event.execution_id for event in events if event.type == event.OUTPUT])
    # A cached execution has the same outputs as the execution that wrote them.
    return next((one for one in makers if one.last_known_state == one.COMPLETE), None)


def inputs_of(store: Any, execution: Any) -> list[tuple[str, Any]]:
    """List the names and artifacts of an execution's inputs by name. An artifact with two names has one of them."""
    roles = {
        (next((step.key for step in event.path.steps if step.HasField("key")), ""), event.artifact_id)
        for event in store.get_events_by_execution_ids([execution.id])
        if event.type == event.INPUT
    }
    found = {artifact.id: artifact for artifact in store.get_artifacts_by_id(sorted({one for _, one in roles}))}
    return [(role, found[one]) for role, one in sorted(roles)]


def breaks(store: Any, artifact: Any) -> TamperedError | None:
    """Check an artifact that has a digest; return None if it is intact.

    Compares all its files with the digest, and the parents in its manifest with its node's inputs.

    Raises:
        StorageError: The store can't be read.
    """
    with tempfile.TemporaryDirectory() as copies:
        staging = Staging(Path(copies))
        try:
            recorded, manifest = _recorded(artifact), None
            if recorded["manifest_sha256"]:
                content = read(artifact.uri, MANIFEST_NAME) or b""
                manifest = with_manifest(artifact.uri, content, recorded).manifest
            if is_address(artifact.uri):
                staging.fetch(artifact.uri)
            folder = Path(staging.local(artifact.uri))
            if manifest is not None:
                Verified(str(folder), manifest).check()
                maker = maker_of(store, artifact)
                _compare_parents(artifact.uri, manifest, {} if maker is None else dict(inputs_of(store, maker)))
            else:
                found = sha256_of(folder) if folder.exists() else EMPTY
                compare_content(artifact.type, artifact.uri, recorded[CONTENT_PROPERTY], found)
        except TamperedError as error:
            return error
    return None


# Name of a parent in a manifest -> name of that input of the node, if they differ.
_INPUT_OF_PARENT = {"decision": "blessing"}


def _compare_parents(place: str, manifest: Manifest, inputs: Mapping[str, Any]) -> None:
    for parent, digest in manifest.parents.items():
        given = inputs.get(_INPUT_OF_PARENT.get(parent, parent)) or inputs.get(input_of(parent))
        # Most nodes read only one split of the examples.
        if given is None or parent == "examples":
            continue
        recorded = _recorded(given)
        expected = recorded["sha256"] if recorded["manifest_sha256"] else recorded[CONTENT_PROPERTY]
        if expected not in {"", digest}:
            raise TamperedError(
                f"this artifact ({manifest.role}) was not made from the {parent} that its node was given",
                where=place,
                bound=f"sha256 {expected} ({given.uri})",
                measured=f"sha256 {digest}",
                remedy="delete its folder, and run again when nothing else writes to the artifacts",
            )


def _recorded(artifact: Any) -> dict[str, str]:
    return {name: artifact.custom_properties[name].string_value for name in (*RECORDED, CONTENT_PROPERTY)}

"""Traces files back to everything that they were made from, using only ML Metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.core.compression import gunzip
from components.core.errors import EdgemillError, MetadataError, RegistryError, TamperedError, some_of
from components.core.files import is_file, read_regular, sha256_of_bytes
from components.ingest.sources import shown
from components.push.registry import Located, registry_at
from components.push.release import MANIFEST_NAME
from components.tfx.candidate_inputs import recipe_of_input
from pipelines.graph.steps import shown_id
from pipelines.report.summary import LineageNode
from pipelines.runs.releases import releases_of
from pipelines.runs.verification import breaks, has_digest, inputs_of, maker_of

# A digest, or the version of a release, which is the beginning of a digest.
_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{16,64})")
# Models for devices are never larger.
_MOST_BYTES = 1 << 31

# Parameters that describe the work of a node. Other parameters are internal.
_SHOWN = ("spec", "task", "task_version", "code_version", "run_fn", "custom_config", "path", "sha256", "input_base")
_HIDDEN_PROPERTIES = {"name", "producer_component", "pipeline_name", "tfx_version", "state", "is_external"}


def trace_target(store: Any, target: str) -> LineageNode:
    """Trace the lineage of a release or of a model, by its path or address, or by the digest of its bytes.

    A release, or the model file in one, is traced from its own push, even if the registry was moved. Other bytes are
    traced from every release that contains them, or from the candidate if no release does.

    Raises:
        RegistryError: The release is damaged, or the folder isn't a release.
        MetadataError: There is no such release or file, no run pushed the release, or the store has no record of the
            bytes.
        TamperedError: The release's manifest isn't the one that was written.
    """
    if (digest := _digest_in(target)) is not None:
        return _trace_bytes(store, digest, target)
    if (model := _compressed_model(target)) is not None:
        return _trace_bytes(store, sha256_of_bytes(model), target)
    found = registry_at(target).resolve(target)
    if found.manifest_sha256 is not None:
        return trace(store, recorded_push(store, found))
    return _trace_bytes(store, found.sha256, target)


def _trace_bytes(store: Any, sha256: str, target: str) -> LineageNode:
    """Trace the bytes with this digest, or with the only digest that starts with it."""
    pushes = [(artifact, known) for artifact, known in _pushes(store) if _model(known).startswith(sha256)]
    models = [artifact for artifact in _all_models(store) if _sha256_of(artifact).startswith(sha256)]
    fitting = {_model(known) for _, known in pushes} | {_sha256_of(artifact) for artifact in models}
    if len(fitting) > 1:
        raise MetadataError(
            "several models have a digest that begins with these digits",
            where=target,
            measured=some_of(sorted(fitting)),
            remedy="specify more digits",
        )
    # The same bytes pushed again are the same release; the newest push counts.
    deliveries = {known["release_path"]: artifact for artifact, known in pushes}
    if len(deliveries) > 1:
        children = tuple(trace(store, artifact) for artifact in deliveries.values())
        return LineageNode(label=f"{len(children)} releases of these bytes", kind="releases", children=children)
    for artifact in [*deliveries.values(), *models]:
        return trace(store, artifact)
    raise MetadataError(
        "the metadata store has no record of a model with these bytes",
        where=target,
        bound="a release, or the digest or the file of a model that a run of this store made",
        measured=f"sha256 {sha256}",
        remedy="specify the file as the run wrote it, or the store of its run with --root or --metadata",
    )


def _digest_in(target: str) -> str | None:
    """Return the target if it is the digest of a model, or its beginning; None for a path or an address."""
    match = _DIGEST.fullmatch(target)
    return match[1] if match and not Path(target).exists() else None


def _compressed_model(target: str) -> bytes | None:
    """The model in a compressed file that isn't in a release, such as one that was copied from a device."""
    path = Path(target)
    if not target.endswith(".gz") or not is_file(path) or is_file(path.parent / MANIFEST_NAME):
        return None
    return gunzip(read_regular(path), _MOST_BYTES)


def recorded_push(store: Any, release: Located) -> Any:
    """Return the PushedModel artifact of the newest push that wrote a release, which may have moved since then.

    Raises:
        MetadataError: No run of this store has pushed these bytes.
        TamperedError: The release's manifest isn't the one that was written.
    """
    pushes = [(artifact, known) for artifact, known in _pushes(store) if _model(known) == release.sha256]
    if not pushes:
        made = next((artifact for artifact in _all_models(store) if _sha256_of(artifact) == release.sha256), None)
        raise MetadataError(
            "no run of this metadata store has pushed this release",
            where=release.address,
            bound="a model that passed its gate and was pushed",
            measured="a model without a record" if made is None else f"a model that was not pushed: {made.uri}",
            remedy="don't use it, unless another store (--root, --metadata) has the record of its push",
        )
    records = [(artifact, *one) for artifact, _ in pushes for one in releases_of(artifact).items()]
    here = [record for record in records if record[1] == release.address] or records
    # There are several if another decision pushed the same bytes again. Earlier versions didn't record any.
    written = {digest for *_, digest in here} - {""}
    if written and release.manifest_sha256 not in written:
        raise TamperedError(
            "the manifest of this release is not the one that was written",
            where=release.manifest,
            bound=" or ".join(f"sha256 {one}" for one in sorted(written)),
            measured=f"sha256 {release.manifest_sha256}",
            remedy="run the pipeline again to rewrite it, or specify the store of the run that pushed last",
        )
    return next(artifact for artifact, _, digest in reversed(here) if not written or digest == release.manifest_sha256)


def release_break(store: Any, pushed: Any, address: str) -> EdgemillError | None:
    """Compare one release of a PushedModel artifact with its record; return None if it is intact.

    Raises a MetadataError if the release isn't there, and a StorageError if its registry can't be read.
    """
    known = _known(pushed)
    try:
        found = registry_at(address).resolve(address)
        if found.sha256 != _model(known):
            return TamperedError(
                "the model of this release is not the one that the run pushed",
                where=address,
                bound=f"sha256 {_model(known)}",
                measured=f"sha256 {found.sha256}",
                remedy="run the pipeline again to push the model again",
            )
        recorded_push(store, found)
    except (RegistryError, TamperedError) as error:
        return error
    return None


def channel_breaks(store: Any, address: str) -> Iterator[tuple[str, EdgemillError | None]]:
    """Yield the name and the error of each channel next to a release; None as the error if a run pushed its release."""
    for name, found in registry_at(address).channels(address):
        if isinstance(found, RegistryError):
            yield name, found
            continue
        try:
            recorded_push(store, found)
        except (MetadataError, TamperedError) as error:
            yield name, error
        else:
            yield name, None


def _pushes(store: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    for artifact in store.get_artifacts_by_type("PushedModel"):
        if _model(known := _known(artifact)):
            yield artifact, known


def _all_models(store: Any) -> Iterator[Any]:
    """The models that runs produced. A champion is only a copy of a release."""
    models = (artifact for artifact in store.get_artifacts_by_type("Model") if _sha256_of(artifact))
    return (artifact for artifact in models if artifact.custom_properties["role"].string_value != "champion")


def _sha256_of(model: Any) -> str:
    return str(model.custom_properties["sha256"].string_value)


def _known(pushed: Any) -> dict[str, str]:
    return {name: value.string_value for name, value in pushed.custom_properties.items()}


def _model(known: dict[str, str]) -> str:
    return known.get("model_sha256", "")


def trace(store: Any, artifact: Any, *, compare: bool = True) -> LineageNode:
    """Build the tree of artifacts and executions that an artifact was made from.

    With `compare`, reads all files of all artifacts, and compares them with their records. Follows single events,
    because the store's subgraph query needs `filter_query`, which later releases lack.
    """
    return _Tree(store, compare=compare).of_artifact(artifact)


def compared_artifacts(node: LineageNode) -> Iterator[tuple[str, TamperedError | None]]:
    """Yield the label of each compared artifact of a lineage, and an error if the lineage is broken there."""
    if (verified := node.details.get("verified")) is not None:
        broken = TamperedError(
            f"the lineage breaks at {node.label}",
            where=node.details["uri"],
            measured=verified.removeprefix("NO: "),
            remedy="do not use anything made from it; delete its folder, and run again",
        )
        yield node.label, None if verified == "yes" else broken
    for child in node.children:
        yield from compared_artifacts(child)


def first_break(node: LineageNode) -> TamperedError | None:
    """Return the error for the first artifact that differs from its record, or None."""
    return next((found for _, found in compared_artifacts(node) if found is not None), None)


class _Tree:
    """A lineage graph as a tree that shows each artifact and execution in full only once."""

    def __init__(self, store: Any, *, compare: bool) -> None:
        self._store, self._compare = store, compare
        self._shown: set[int] = set()

    def of_artifact(self, artifact: Any, role: str = "") -> LineageNode:
        label = f"{artifact.type} {artifact.id}" + (f" as {role}" if role else "")
        if artifact.id in self._shown:
            return LineageNode(label=label, kind=artifact.type, details={"lineage": "shown above"})
        self._shown.add(artifact.id)
        properties = sorted({**artifact.properties, **artifact.custom_properties}.items())
        named = ((name, _plain(value)) for name, value in properties if name not in _HIDDEN_PROPERTIES)
        details = {name: value for name, value in named if value}
        details["uri"] = artifact.uri
        if artifact.state == artifact.DELETED:
            details["content"] = "removed by `edgemill clean`"
        if self._compare and has_digest(artifact):
            found = breaks(self._store, artifact)
            details["verified"] = "yes" if found is None else f"NO: {found}"
        maker = maker_of(self._store, artifact)
        children = () if maker is None else (self._of_execution(maker, recipe_of_input(role)),)
        return LineageNode(label=label, kind=artifact.type, details=details, children=children)

    def _of_execution(self, execution: Any, recipe: str) -> LineageNode:
        found = ((name, _plain(execution.custom_properties[name])) for name in _SHOWN)
        details = {name: value for name, value in found if value}
        facts, files = shown(details.get("custom_config", ""))
        if facts:
            details.pop("custom_config")
        details |= facts
        node = self._node(execution)
        return LineageNode(
            label=shown_id(node, {node: [recipe]} if recipe else {}),
            kind="execution",
            details=details,
            files=files,
            children=tuple(self.of_artifact(artifact, role) for role, artifact in inputs_of(self._store, execution)),
        )

    def _node(self, execution: Any) -> str:
        for context in self._store.get_contexts_by_execution(execution.id):
            if context.type == "node":
                return str(context.name.partition(".")[2])
        return str(execution.type)


def _plain(value: Any) -> str:
    held = value.WhichOneof("value")
    return str(getattr(value, held)) if held in {"string_value", "int_value", "double_value"} else ""

"""The signed statement about a release, and the pointer to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.push.artifact import artifact_of, artifact_path
from components.push.release import COMPRESSED_NAME, MANIFEST_NAME, MODEL_NAME, ChannelPointer, Release
from components.trust import rollout
from components.trust.statement import LACKS, statement_of, without_lineage

NO_LINEAGE: Mapping[str, str] = MappingProxyType({})


# Fields of the statement about a release that was pushed to a signed registry; "calibration" only with a calibration
# sample.
_LINEAGE = "lineage"
_MATERIALS = ("candidate", "decision", "evaluation", "examples")


def reference(
    release: Release, lineage: Mapping[str, str] = NO_LINEAGE, written: bytes | None = None
) -> rollout.ReleaseRef:
    """Return the signed statement about a release.

    Args:
        release: The release.
        lineage: As for `components.push.signed.commit`.
        written: The stored manifest of a release that was pushed before the registry was signed. The statement then
            lists its missing fields. By default, the manifest is the one that a push writes.
    """
    manifest, form = release.manifest, release.manifest.compressed
    content = serialized(manifest) if written is None else written
    subjects = {MODEL_NAME: manifest.sha256, MANIFEST_NAME: sha256_of_bytes(content)}
    if form is not None:
        subjects[COMPRESSED_NAME] = form.sha256
    subjects |= {one.path(name): one.sha256 for name, one in manifest.files.items()}
    if manifest.artifact:
        _, artifact = artifact_of(release, content)
        subjects[artifact_path(artifact)] = sha256_of_bytes(artifact)
    return rollout.ReleaseRef(
        version=release.version,
        sha256=manifest.sha256,
        bytes=manifest.bytes,
        file=form.file if form else MODEL_NAME,
        file_sha256=form.sha256 if form else manifest.sha256,
        file_bytes=form.bytes if form else manifest.bytes,
        statement=statement_of(
            subjects,
            {
                "device_class": manifest.device_class,
                "name": manifest.name,
                "device": manifest.device,
                "recipe": {
                    "name": manifest.recipe.name,
                    "digest": {"sha256": sha256_of_bytes(manifest.recipe.model_dump_json().encode())},
                },
                **({} if written is None else {LACKS: lacking(manifest.parents)}),
            },
            manifest.parents,
            lineage,
        ),
    )


def manifest_digest(ref: rollout.ReleaseRef) -> str:
    """The SHA-256 digest of the manifest that is signed with a release; empty if the statement has none."""
    return next(
        (str(one["digest"]["sha256"]) for one in ref.statement.get("subject", ()) if one["name"] == MANIFEST_NAME), ""
    )


def lacking(materials: Mapping[str, str]) -> list[str]:
    """Return the missing fields of the statement about a release that was pushed before the registry was signed."""
    return [_LINEAGE, *(role for role in _MATERIALS if role not in materials)]


def released(state: rollout.ChannelState, ref: rollout.ReleaseRef) -> rollout.ChannelState:
    """The state after a release. If only its lineage differs, the state doesn't change, so nothing is signed again."""
    for stage in state.stages:
        if replace(stage.release, statement=without_lineage(stage.release.statement)) == replace(
            ref, statement=without_lineage(ref.statement)
        ):
            return rollout.released(state, stage.release)
    return rollout.released(state, ref)


def pointer_at(ref: rollout.ReleaseRef) -> ChannelPointer:
    """The pointer to a signed release."""
    return ChannelPointer(version=ref.version, sha256=ref.sha256, bytes=ref.bytes)


def pointer(ref: rollout.ReleaseRef) -> bytes:
    """The content of the pointer to a signed release."""
    return serialized(pointer_at(ref))

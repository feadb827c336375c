"""What is signed about a release, and the pointer at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.push.release import COMPRESSED_NAME, MANIFEST_NAME, MODEL_NAME, ChannelPointer, Release
from components.trust import rollout
from components.trust.statement import statement_of, without_lineage

NO_LINEAGE: Mapping[str, str] = MappingProxyType({})


def reference(release: Release, lineage: Mapping[str, str] = NO_LINEAGE) -> rollout.ReleaseRef:
    """What is signed about a release. `lineage` is that of `components.push.signed.commit`."""
    manifest, form = release.manifest, release.manifest.compressed
    # The manifest as a push writes it.
    subjects = {MODEL_NAME: manifest.sha256, MANIFEST_NAME: release.manifest_sha256}
    if form is not None:
        subjects[COMPRESSED_NAME] = form.sha256
    subjects |= {one.path(name): one.sha256 for name, one in manifest.files.items()}
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
            },
            manifest.parents,
            lineage,
        ),
    )


def released(state: rollout.ChannelState, ref: rollout.ReleaseRef) -> rollout.ChannelState:
    """The state after a release. One that differs only in its lineage stays, so that nothing is signed again."""
    for stage in state.stages:
        if replace(stage.release, statement=without_lineage(stage.release.statement)) == replace(
            ref, statement=without_lineage(ref.statement)
        ):
            return rollout.released(state, stage.release)
    return rollout.released(state, ref)


def pointer_at(ref: rollout.ReleaseRef) -> ChannelPointer:
    """The pointer at a signed release."""
    return ChannelPointer(version=ref.version, sha256=ref.sha256, bytes=ref.bytes)


def pointer(ref: rollout.ReleaseRef) -> bytes:
    """The content of the pointer at a signed release."""
    return serialized(pointer_at(ref))

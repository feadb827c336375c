"""Signed registries behind the registry protocol: the signed channel changes first, then the plain pointer follows.

A device reads the signed channel only. The pointer stays for readers that verify nothing, and for rollbacks by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.object_store.bucket import is_address
from components.push.audit import record
from components.push.beside import normal_root
from components.push.registry import Registry, registry_at
from components.push.release import COMPRESSED_NAME, MANIFEST_NAME, MODEL_NAME, ChannelPointer, Release
from components.spec.registry import BaseRegistry, GcsRegistry, LocalRegistry, OciRegistry, S3Registry
from components.trust import rollout
from components.trust.keys import VARIABLE, KeySet, key_sets
from components.trust.names import FOLDER
from components.trust.statement import statement_of, without_lineage
from components.trust.storage import Store, store_at

if TYPE_CHECKING:
    from components.trust.repository import SignedRegistry

NO_LINEAGE: Mapping[str, str] = MappingProxyType({})


def signed_root(spec: BaseRegistry) -> str | None:
    """The root of a kind of registry that can be signed; None for other kinds."""
    return normal(spec.root) if isinstance(spec, LocalRegistry | S3Registry | GcsRegistry | OciRegistry) else None


def can_be_signed(address: str) -> bool:
    """Whether an address is that of a kind of registry that can be signed."""
    return "://" not in address or is_address(address) or address.startswith(OciRegistry.address_prefix)


def normal(root: str) -> str:
    """A root in the form that key sets hold. Raises a RegistryError for a kind that can't be signed."""
    if not can_be_signed(root):
        raise RegistryError(
            "this kind of registry cannot be signed",
            where=root,
            bound="a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, or oci://HOST/PREFIX",
            remedy="use one of these kinds",
        )
    return root.rstrip("/") if "://" in root else str(Path(root).resolve())


def open_signed(root: str) -> SignedRegistry | None:
    """Open a signed registry with the keys that the environment names; None if it isn't signed.

    Raises:
        RegistryError: No key set is for this registry, or the registry was signed and isn't any more.
        SpecError: A key set can't be read.
    """
    from components.trust.repository import SignedRegistry
    from components.trust.signed_set import is_signed

    root, store = normal(root), store_at(root)
    keys = key_set_of(root, store)
    if not is_signed(store):
        if keys is not None:
            raise RegistryError(
                "this registry was signed, and its signed metadata is gone",
                where=root,
                bound=f"the folder {FOLDER}",
                remedy=f"restore it, or let these credentials read it. If you removed it yourself, unset {VARIABLE}",
            )
        return None
    if keys is None:
        raise RegistryError(
            "this registry is signed, and no key set here is for it",
            where=root,
            bound="the folder that `edgemill registry init` made",
            measured=", ".join(str(one.folder) for one in key_sets()) or "no key set",
            remedy=f"set {VARIABLE} to the folder of its keys",
        )
    return SignedRegistry(root, store, keys)


def key_set_of(root: str, store: Store) -> KeySet | None:
    """The key set of this machine that is for a registry, or None."""
    from components.trust.signed_set import FIRST_ROOT_NAME

    first = store.read(FIRST_ROOT_NAME)
    return next((one for one in key_sets() if _leads_from(one, root, first.content if first else None)), None)


def commit(spec: BaseRegistry, registry: Registry, release: Release, lineage: Mapping[str, str] = NO_LINEAGE) -> bool:
    """Commit a release to its channel, and return whether that was signed. The audit log gets an entry before.

    `lineage` has the IDs of the run and of its artifacts in ML Metadata. They are signed with the release.
    """
    if isinstance(spec, LocalRegistry | S3Registry | GcsRegistry | OciRegistry):
        where = f"{release.manifest.device_class}/{release.manifest.name}/{release.version}"
        record(normal_root(spec.root), where, what="push", channel=spec.channel, manifest=release.manifest_sha256)
    root = signed_root(spec)
    signed = open_signed(root) if root else None
    if signed is None:
        registry.commit(release)
        return False
    place = (release.manifest.device_class, release.manifest.name, spec.channel)
    ref = reference(release, lineage)
    signed.change_channel(*place, lambda state: _released(state, ref), _pointer)
    registry.commit(release)
    # Another push can have signed after this one, and have moved the pointer before.
    settled = signed.channel(*place).complete
    if settled is not None and settled.version != release.version:
        registry_at(release.path).point_at(f"{release.path.rpartition('/')[0]}/{settled.version}", spec.channel)
    return True


def check_signable(specs: Sequence[BaseRegistry], device_classes: Sequence[str]) -> None:
    """Check before a run that every registry can be signed, or none is signed.

    Raises:
        RegistryError: Some registries are signed and some aren't, or keys are missing.
    """
    found = {spec.place: open_signed(root) if (root := signed_root(spec)) else None for spec in specs}
    unsigned = [place for place, signed in found.items() if signed is None]
    if unsigned and len(unsigned) < len(found):
        raise RegistryError(
            "some of the registries are signed and some are not",
            bound="all of them signed, or none",
            measured=f"not signed: {', '.join(unsigned)}",
            remedy="sign them with `edgemill registry init`, or push to them in another pipeline",
        )
    for spec in specs:
        if (signed := found[spec.place]) is not None:
            for device_class in device_classes:
                signed.check_keys(device_class, spec.channel)


def change(
    address: str,
    channel: str,
    edit: Callable[[rollout.ChannelState], rollout.ChannelState],
    what: str,
    **details: object,
) -> rollout.ChannelState:
    """Change a signed channel of the pipeline at `<root>/<device class>/<name>`, and let the pointer follow.

    `what` and `details` are for the audit log.
    """
    from components.trust.repository import check_channel

    root, device_class, name = address.rstrip("/").rsplit("/", 2)
    signed = open_signed(root)
    if signed is None:
        raise RegistryError(
            "this registry is not signed",
            where=root,
            remedy="sign it with `edgemill registry init`, or use `edgemill rollback`, which needs no keys",
        )
    check_channel(channel, root)
    record(normal_root(root), f"{device_class}/{name}", what=what, channel=channel, **details)
    state = signed.change_channel(device_class, name, channel, edit, _pointer)
    kind = registry_at(address)
    if state.complete is not None:
        release = kind.resolve(f"{address}/{state.complete.version}")
        # The pointer's file, or its tag.
        if any(place.endswith((f"/{channel}.json", f":{channel}")) for place, _ in kind.channels(release.address)):
            kind.point_at(release.address, channel)
    return state


def promote(address: str, channel: str, share: int) -> rollout.ChannelState:
    """Give a share of a channel's devices a release that another channel of the same pipeline has signed.

    Raises:
        RegistryError: The release is damaged, no channel has signed it, or the channel doesn't allow the change.
    """
    found = registry_at(address).resolve(address)
    place, _, version = found.address.rpartition("/")
    root, device_class, name = place.rsplit("/", 2)
    registry = open_signed(root)
    states = registry.channels() if registry else []
    known = {
        ref.version: ref
        for state in states
        if (state.device_class, state.name) == (device_class, name)
        for ref in (*state.history, *(stage.release for stage in state.stages))
    }
    if registry is not None and (version not in known or known[version].sha256 != found.sha256):
        raise RegistryError(
            "no channel has signed this release",
            where=found.address,
            bound=", ".join(known) or "no release is signed",
            measured=version,
            remedy="push the model to a channel of the signed registry first",
        )
    return change(
        place,
        channel,
        lambda state: rollout.released(state, known[version], share),
        "promote",
        release=version,
        percent=f"{share / 100:g}",
    )


def reference(release: Release, lineage: Mapping[str, str] = NO_LINEAGE) -> rollout.ReleaseRef:
    """What is signed about a release. `lineage` is that of `commit`."""
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


def _released(state: rollout.ChannelState, ref: rollout.ReleaseRef) -> rollout.ChannelState:
    """The state after a release. One that differs only in its lineage stays, so that nothing is signed again."""
    for stage in state.stages:
        if replace(stage.release, statement=without_lineage(stage.release.statement)) == replace(
            ref, statement=without_lineage(ref.statement)
        ):
            return rollout.released(state, stage.release)
    return rollout.released(state, ref)


def _pointer(ref: rollout.ReleaseRef) -> bytes:
    return serialized(ChannelPointer(version=ref.version, sha256=ref.sha256, bytes=ref.bytes))


def _leads_from(keys: KeySet, root: str, first: bytes | None) -> bool:
    """Whether a key set is for a registry: by its address, or by the root that it trusts."""
    return keys.file.registry == root or keys.root == first

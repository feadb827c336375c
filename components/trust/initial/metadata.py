"""Creates the first signed metadata: empty, or about the existing releases of a registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tuf.api.metadata import Metadata, Snapshot, Targets, Timestamp

from components.core.errors import RegistryError
from components.trust.keys import VARIABLE
from components.trust.names import SIGNED, role_of, target_of
from components.trust.repository import SignedRegistry
from components.trust.rollout import ChannelState, ReleaseRef
from components.trust.signed_set import FIRST_ROOT_NAME, TIMESTAMP_NAME, SignedSet, is_signed
from components.trust.storage import Store


def check_unsigned(root: str, store: Store) -> None:
    """Raise a RegistryError if a registry is signed. One that a killed signing left half signed doesn't count."""
    if is_signed(store):
        raise RegistryError(
            "this registry is already signed",
            where=root,
            remedy=f"use its keys: {VARIABLE}; to start again, remove {store.words} of the registry",
        )


def write_initial(
    registry: SignedRegistry, carried: Sequence[ChannelState], pointer: Callable[[ReleaseRef], bytes]
) -> None:
    """Sign the initial metadata of a registry. Write it, and then the first root.

    Args:
        registry: The registry, with all keys.
        carried: The states of channels and archives of the releases that it has.
        pointer: The content of the pointer to a release.

    Raises:
        RegistryError: Another process has just signed the registry. Its signatures stay.
    """
    store = registry.store
    with store.exclusive():
        before = store.read(TIMESTAMP_NAME)
        found = _nothing(registry.keys.root)
        roles = {"targets": found.targets}
        for device_class in sorted({state.device_class for state in carried}):
            registry.delegate(found, device_class, SIGNED)
            # A delegated role must have signed something. Otherwise, devices treat it as missing.
            roles |= {role_of(device_class, channel): Metadata(Targets()) for channel in SIGNED}
        for state in carried:
            target = target_of(state.device_class, state.name, state.channel)
            roles[role_of(state.device_class, state.channel)].signed.targets[target] = registry.target(state, pointer)
        content = registry.prepared(found, roles, snapshot=True)
        if is_signed(store) or not store.write_if(TIMESTAMP_NAME, content, before.version if before else None):
            raise _overtaken(registry.where)
        if not store.write_if(FIRST_ROOT_NAME, registry.keys.root, None):
            written = store.read(TIMESTAMP_NAME)
            if written is not None and written.content == content and before is not None:
                # The other process has signed with the timestamp that this one has replaced.
                store.write_if(TIMESTAMP_NAME, before.content, written.version)
            raise _overtaken(registry.where)


def _nothing(root: bytes) -> SignedSet:
    """The set before the first one. Versions begin at 1."""
    found = SignedSet(
        root=Metadata.from_bytes(root),
        timestamp=Metadata(Timestamp()),
        snapshot=Metadata(Snapshot(meta={})),
        targets=Metadata(Targets()),
        timestamp_version="",
    )
    found.timestamp.signed.version = found.snapshot.signed.version = 0
    return found


def _overtaken(root: str) -> RegistryError:
    return RegistryError(
        "another process has just signed this registry",
        where=root,
        bound="one `edgemill registry init` at a time",
        remedy="use its keys: EDGEMILL_KEYS; if it was killed, run again",
    )

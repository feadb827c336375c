"""A new signed registry with its key set, and the rotation of keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root, Targets

from components.core.errors import RegistryError
from components.core.files import write_atomically
from components.trust import clock
from components.trust.initial.keys import check_folder, initial_keys
from components.trust.initial.metadata import check_unsigned, write_initial
from components.trust.keys import check_new, key_with
from components.trust.names import CHANNELS, SIGNED, role_of
from components.trust.reader import TOP_LEVEL, delegated_roles, delegator_of
from components.trust.repository import SignedRegistry
from components.trust.rollout import ChannelState, ReleaseRef
from components.trust.signed_set import (
    DEFAULT_EXPIRY_DAYS,
    TIMESTAMP_NAME,
    SignedSet,
    clear,
    expiry_days,
    newest_root,
    read_role,
)
from components.trust.signing import sign
from components.trust.storage import Store


def create(
    root: str,
    store: Store,
    folder: Path,
    timestamp_days: int | None = None,
    announce: Callable[[], str] = lambda: "",
    carried: Sequence[ChannelState] = (),
    pointer: Callable[[ReleaseRef], bytes] = lambda _: b"",
) -> SignedRegistry:
    """Create a development key set, and sign a registry with it. The first root is the commit point.

    If this is killed before that, it resumes when it is called again. With a different folder, it starts over.

    Args:
        root: The registry.
        store: Its metadata.
        folder: The folder for the keys.
        timestamp_days: Days until the timestamp expires; by default 7.
        announce: Called before anything is written. Returns the name of the audit log's entry to sign.
        carried: The states of channels and archives of the releases that the registry has; by default it has none.
        pointer: The content of the pointer to a release.

    Raises:
        RegistryError: The registry is already signed.
        SpecError: The folder contains other keys.
    """
    check_unsigned(root, store)
    classes = {state.device_class for state in carried}
    check_folder(root, folder, [role_of(one, channel) for one in classes for channel in SIGNED])
    entry = announce()
    days = {**DEFAULT_EXPIRY_DAYS, **({"timestamp": timestamp_days} if timestamp_days else {})}
    registry = SignedRegistry(root, store, initial_keys(root, folder, days))
    registry.entry = entry
    write_initial(registry, carried, pointer)
    registry.entry = ""
    return registry


def add_device_class(registry: SignedRegistry, device_class: str, announce: Callable[[], None]) -> tuple[str, ...]:
    """Delegate the channels of a device class to new keys, so that its first push doesn't need the key of `targets`.

    Returns:
        The roles; none if the device class already has them. Before anything is written, `announce` is called.

    Raises:
        RegistryError: The keys of `targets`, the snapshot, or the timestamp aren't here, or no key can be added.
    """
    roles = tuple(role_of(device_class, channel) for channel in CHANNELS)
    found = registry.read()
    if roles[0] in delegated_roles(found):
        return ()
    for needed in ("targets", "snapshot", "timestamp"):
        registry.signers_of(found.root.signed, needed)
    added: list[str] = []

    def edit(found: SignedSet) -> dict[str, Metadata[Any]] | None:
        # Another process can have been faster.
        added[:] = () if roles[0] in delegated_roles(found) else roles
        if not added:
            return None
        return {"targets": registry.delegate(found, device_class), **{role: Metadata(Targets()) for role in roles}}

    announce()
    registry.commit(edit)
    return tuple(added)


def renew(
    registry: SignedRegistry,
    *,
    force: bool = False,
    newest_entry: str = "",
    announce: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> tuple[tuple[str, ...], dict[str, datetime]]:
    """Sign again roles with less than half of their lifetime left, or more than all of it, with this machine's keys.

    Args:
        registry: The registry.
        force: Whether to sign everything again, even with a clock that is behind the last signature.
        newest_entry: Name of the newest entry of the audit log. If another one is signed, so is the timestamp.
        announce: Called with the roles before they are signed.

    Returns:
        The signed roles, and the roles that need signing but whose keys aren't here, with their expiry. The root is
        among the latter: a rotation signs it again.

    Raises:
        RegistryError: The keys of the snapshot or the timestamp aren't here, or the clock is behind.
    """
    found = registry.read()
    if not force:
        clock.check_clock(found, registry.where)
    root = found.root.signed
    days = expiry_days(root)

    def is_due(kind: str, metadata: Metadata[Any]) -> bool:
        left = metadata.signed.expires - clock.now()
        return left < timedelta(days=days[kind]) / 2 or clock.is_too_long(kind, metadata, days)

    missing = {"root": root.expires} if is_due("root", found.root) else {}
    due: list[str] = []
    for role in ("targets", *delegated_roles(found)):
        metadata = _metadata_of(registry, found, role)
        if force or is_due("targets" if role == "targets" else "channels", metadata):
            try:
                registry.signers_of(root if role == "targets" else found.targets.signed, role)
                due.append(role)
            except RegistryError:
                missing[role] = metadata.signed.expires
    snapshot = bool(force or due or is_due("snapshot", found.snapshot))
    if not (snapshot or newest_entry not in {"", found.log_entry} or is_due("timestamp", found.timestamp)):
        return (), missing
    last = (*(("snapshot",) if snapshot else ()), "timestamp")
    for role in last:
        registry.signers_of(root, role)
    announce(roles := (*due, *last))
    registry.any_clock = force
    registry.commit(lambda new: {role: _metadata_of(registry, new, role) for role in due}, snapshot=snapshot)
    registry.any_clock = False
    return roles, missing


def _metadata_of(registry: SignedRegistry, found: SignedSet, role: str) -> Metadata[Targets]:
    if role == "targets":
        return found.targets
    return read_role(registry.store, found, role, registry.where) or Metadata(Targets())


def rotate(
    registry: SignedRegistry,
    role: str,
    elsewhere: tuple[bytes, str] | None = None,
    announce: Callable[[str], None] = lambda _: None,
    old: str | None = None,
    begin: Callable[[], None] = lambda: None,
) -> str:
    """Replace a key of a role with a new one. Devices that trust the root then accept only the new key.

    Anyone with the old key of a channel could sign anything with it. Targets that can't be read, or that belong to
    another channel, are dropped, and impossible sequence numbers restart. All other targets are signed again: see
    `edgemill registry status`.

    Args:
        registry: The registry.
        role: The role.
        elsewhere: Public key and URI of a key in a key service; None to create a key in a file.
        announce: Called with the dropped targets and restarted numbers, once the role is signed.
        old: Beginning of the ID of the key to replace; by default the role's first key.
        begin: Called once the role and the keys are checked, before anything is signed.

    Returns:
        The ID of the key that was replaced.

    Raises:
        RegistryError: There is no such role, or keys are missing.
        SpecError: The new key already signs the role, or can't sign.
    """
    _finish(registry)
    found = registry.read()
    if not _is_lost(registry, found.root.signed, role):  # A lost key must be replaced at any time.
        clock.check_clock(found, registry.where)
    delegator = delegator_of(found, role, registry.where)
    keyids = delegator.get_delegated_role(role).keyids
    old = key_with(old, keyids, role) if old else None
    if elsewhere is not None:
        check_new(elsewhere[0], keyids, role)
    if role in TOP_LEVEL:
        return _rotate_top_level(registry, role, found, elsewhere, old, begin)
    replaced: list[str] = []
    cleared: list[str] = []
    for needed in ("targets", "snapshot", "timestamp"):
        registry.signers_of(found.root.signed, needed)
    registry.keys, key = registry.keys.new_key(role, elsewhere)
    begin()

    def edit(found: SignedSet) -> dict[str, Metadata[Targets]]:
        metadata = read_role(registry.store, found, role, registry.where)
        delegated = found.targets.signed.get_delegated_role(role)
        replaced[:] = [old] if old else delegated.keyids[:1]
        if key.keyid not in delegated.keyids:
            found.targets.signed.add_key(key, role)
            found.targets.signed.revoke_key(replaced[0], role)
        cleared[:] = clear(role, metadata.signed) if metadata else []
        return {"targets": found.targets, **({role: metadata} if metadata else {})}

    registry.commit(edit)
    for one in cleared:
        announce(one)
    return replaced[0]


def _finish(registry: SignedRegistry) -> None:
    """Write the timestamp of a rotation that was killed after it had written the root."""
    version = newest_root(registry.store, registry.keys.root, registry.where).signed.version
    for pending in registry.keys.folder.glob(_pending(registry, "*").name):
        with registry.store.exclusive():
            found = registry.store.read(TIMESTAMP_NAME)
            if pending == _pending(registry, version):
                registry.store.write_if(TIMESTAMP_NAME, pending.read_bytes(), found.version if found else None)
        pending.unlink()


def _pending(registry: SignedRegistry, version: int | str) -> Path:
    return registry.keys.folder / f"timestamp-for-root-{version}.json"


def _is_lost(registry: SignedRegistry, root: Root, role: str) -> bool:
    if role not in {"targets", "snapshot", "timestamp"}:
        return False
    return not any(registry.keys.signer(root.get_key(one)) for one in root.roles[role].keyids)


def _rotate_top_level(
    registry: SignedRegistry,
    role: str,
    found: SignedSet,
    elsewhere: tuple[bytes, str] | None,
    replaced: str | None,
    begin: Callable[[], None],
) -> str:
    root = found.root.signed
    signers = {signer.public_key.keyid: signer for signer in registry.signers_of(root, "root")}
    registry.keys, key = registry.keys.new_key(role, elsewhere)
    begin()
    replaced = replaced or root.roles[role].keyids[0]
    lost = _is_lost(registry, root, role)
    if role != "root" and not lost:
        # Both keys first sign everything that the new key must sign, so that devices find valid metadata at any time.
        if (signer := registry.keys.signer(key)) is not None:
            registry.extra = {role: signer}
        registry.commit(lambda new: {"targets": new.targets} if role == "targets" else {}, snapshot=role == "snapshot")
        registry.extra = {}
    root.add_key(key, role)
    root.revoke_key(replaced, role)
    root.version += 1
    days = expiry_days(root)["root"]
    root.expires = clock.now() + timedelta(days=days)
    # The new root is signed as required by both the old and the new root.
    signers |= {signer.public_key.keyid: signer for signer in registry.signers_of(root, "root")}
    name, content = f"{root.version}.root.json", sign(found.root, list(signers.values()))
    with registry.store.exclusive():
        if lost:
            # The requirements of the old root can't be met. So there is a moment in which devices raise an alarm.
            roles = {"targets": found.targets} if role == "targets" else {}
            timestamp = registry.prepared(found, roles, snapshot=role == "snapshot")
            write_atomically(_pending(registry, root.version), timestamp)
        written = registry.store.write_if(name, content, None)
    if lost:
        _finish(registry)
    if not written:
        raise RegistryError(
            "another rotation finished first",
            where=f"{registry.where}: {name}",
            remedy="run the command again",
        )
    return replaced

"""A new signed registry with its key set, and the rotation of keys."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from components.core.errors import RegistryError, SpecError
from components.trust import rollout
from components.trust.keys import KeySet, KeysFile, public_key_of
from components.trust.names import CUSTOM, EXPIRY_DAYS, LOG_ENTRY, SIGNED_AT
from components.trust.repository import SignedRegistry, sign
from components.trust.signed_set import (
    DEFAULT_EXPIRY_DAYS,
    FIRST_ROOT_NAME,
    TIMESTAMP_NAME,
    SignedSet,
    expiry_days,
    is_signed,
    problems,
    read_role,
)
from components.trust.storage import Store

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
_TOP_LEVEL = ("root", "targets", "snapshot", "timestamp")


def create(
    root: str,
    store: Store,
    folder: Path,
    timestamp_days: int | None = None,
    announce: Callable[[], str] = lambda: "",
) -> SignedRegistry:
    """Make a development key set, and sign an empty set with it. The first root is the commit point.

    Args:
        root: The registry.
        store: Its metadata.
        folder: The folder for the keys.
        timestamp_days: Days until the timestamp expires; by default 7.
        announce: Called before anything is written. Returns the name of the audit log's entry to sign.

    Raises:
        RegistryError: The registry is already signed.
        SpecError: The folder holds other keys.
    """
    if is_signed(store):
        raise RegistryError(
            "this registry is already signed",
            where=root,
            remedy="use its keys: EDGEMILL_KEYS; to start again, remove the folder `_tuf` of the registry",
        )
    if folder.exists() and any(folder.iterdir()):
        raise SpecError(
            "the folder for the keys is not empty",
            where=str(folder),
            bound="a folder that is empty or doesn't exist",
            remedy="name another folder with --keys",
        )
    entry = announce()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    keys = KeySet(folder, KeysFile(development=True, registry=root, keys={}), b"")
    days = {**DEFAULT_EXPIRY_DAYS, **({"timestamp": timestamp_days} if timestamp_days else {})}
    now = datetime.now(timezone.utc).replace(microsecond=0)
    signed = Root(consistent_snapshot=True, expires=now + timedelta(days=days["root"]))
    signed.unrecognized_fields[EXPIRY_DAYS] = days
    signers: dict[str, list[CryptoSigner]] = {}
    for role in _TOP_LEVEL:
        numbers = range(1, ROOT_KEYS + 1) if role == "root" else (1,)
        signers[role] = [CryptoSigner.generate_ecdsa() for _ in numbers]
        for number, signer in zip(numbers, signers[role], strict=True):
            keys = keys.add(signer, f"{role}-{number}.pem" if role == "root" else f"{role}.pem")
            signed.add_key(signer.public_key, role)
    signed.roles["root"].threshold = ROOT_THRESHOLD
    anchor = sign(Metadata(signed), list(signers["root"]))
    keys = KeySet(folder, keys.file, anchor)
    keys.save()

    def written(role: str, metadata: Metadata[Any]) -> MetaFile:
        metadata.signed.expires = now + timedelta(days=days[role])
        content = sign(metadata, list(signers[role]))
        name = TIMESTAMP_NAME if role == "timestamp" else f"{metadata.signed.version}.{role}.json"
        store.write_if(name, content, None)
        return MetaFile.from_data(metadata.signed.version, content, ["sha256"])

    with store.exclusive():
        targets = written("targets", Metadata(Targets()))
        snapshot = written("snapshot", Metadata(Snapshot(meta={"targets.json": targets})))
        timestamp = Timestamp(snapshot_meta=snapshot)
        timestamp.unrecognized_fields[SIGNED_AT] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if entry:
            timestamp.unrecognized_fields[LOG_ENTRY] = entry
        written("timestamp", Metadata(timestamp))
        store.write_if(FIRST_ROOT_NAME, anchor, None)
    return SignedRegistry(root, store, keys)


def renew(
    registry: SignedRegistry,
    *,
    force: bool = False,
    newest_entry: str = "",
    announce: Callable[[tuple[str, ...]], None] = lambda _: None,
) -> tuple[tuple[str, ...], dict[str, datetime]]:
    """Sign again what has less than half of its time left, with the keys of this machine.

    Args:
        registry: The registry.
        force: Whether to sign everything again.
        newest_entry: Name of the newest entry of the audit log. If another one is signed, so is the timestamp.
        announce: Called with the roles before they are signed.

    Returns:
        The roles that were signed, and those that need it, but whose keys aren't here, with their expiry. The root is
        among these: it is signed again by a rotation.

    Raises:
        RegistryError: The keys of the snapshot or the timestamp aren't here.
    """
    found, now = registry.read(), datetime.now(timezone.utc)
    root = found.root.signed
    days = expiry_days(root)

    def is_due(kind: str, metadata: Metadata[Any]) -> bool:
        return metadata.signed.expires - now < timedelta(days=days[kind]) / 2

    missing = {"root": root.expires} if is_due("root", found.root) else {}
    due: list[str] = []
    for role in ("targets", *_delegated(found)):
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
    roles = (*due, *(("snapshot",) if snapshot else ()), "timestamp")
    announce(roles)
    registry.commit(lambda new: {role: _metadata_of(registry, new, role) for role in due}, snapshot=snapshot)
    return roles, missing


def _metadata_of(registry: SignedRegistry, found: SignedSet, role: str) -> Metadata[Targets]:
    if role == "targets":
        return found.targets
    return read_role(registry.store, found, role, registry.where) or Metadata(Targets())


def _delegated(found: SignedSet) -> tuple[str, ...]:
    delegations = found.targets.signed.delegations
    return tuple(delegations.roles or ()) if delegations else ()


def rotate(
    registry: SignedRegistry,
    role: str,
    elsewhere: tuple[bytes, str] | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> str:
    """Replace a key of a role with a new one. Devices that trust the root follow; the old key is worth nothing.

    Whoever had the old key of a channel could sign anything with it. What can't be read, or belongs to another channel,
    is dropped, and numbers that can't be right restart. The rest is signed again: see `edgemill registry status`.

    Args:
        registry: The registry.
        role: The role.
        elsewhere: Public key and URI of a key in a key service; None to make a key in a file.
        announce: Called with what was dropped or restarted, once it is signed.

    Returns:
        The ID of the key that was replaced.

    Raises:
        RegistryError: There is no such role, or keys are missing.
        SpecError: The new key already signs the role, or can't sign.
    """
    found = registry.read()
    delegator = _delegator(registry, found, role)
    if elsewhere is not None:
        _check_new(elsewhere[0], delegator, role)
    if role in _TOP_LEVEL:
        return _rotate_top_level(registry, role, found, elsewhere)
    replaced: list[str] = []
    cleared: list[str] = []
    key = _new_key(registry, role, elsewhere)

    def edit(found: SignedSet) -> dict[str, Metadata[Targets]]:
        metadata = read_role(registry.store, found, role, registry.where)
        delegated = found.targets.signed.get_delegated_role(role)
        replaced[:] = delegated.keyids[:1]
        if key.keyid not in delegated.keyids:
            found.targets.signed.add_key(key, role)
            found.targets.signed.revoke_key(replaced[0], role)
        cleared[:] = _clear(role, metadata.signed) if metadata else []
        return {"targets": found.targets, **({role: metadata} if metadata else {})}

    registry.commit(edit)
    for one in cleared:
        announce(one)
    return replaced[0]


def _clear(role: str, signed: Targets) -> list[str]:
    """Remove what a role may not sign, and restart numbers that no honest push can have reached; say what changed."""
    said = []
    for path, why in problems(role, signed).items():
        del signed.targets[path]
        said.append(f"dropped {path}: {why}")
    for path, target in signed.targets.items():
        state = rollout.from_custom(target.custom)
        # Each change of a channel is one of its role, so its number is at most the version of the role.
        if state.sequence > (most := min(signed.version, rollout.LARGEST_SEQUENCE // 2)):
            target.unrecognized_fields["custom"][CUSTOM]["sequence"] = most
            said.append(f"restarted the number of {path}: {state.sequence:,} becomes {most:,}")
    return said


def _check_new(public_key: bytes, delegator: Root | Targets, role: str) -> None:
    key = public_key_of(public_key)
    if key.keyid in delegator.get_delegated_role(role).keyids:
        raise SpecError(
            "this key already signs the role, so it can't replace one of its keys",
            where=role,
            measured=f"the key {key.keyid[:12]}…",
            remedy="create a new key; to move a key that the role has, change its place in keys.json",
        )


def public_keys(registry: SignedRegistry, role: str) -> list[Key]:
    """Return the keys that sign a role. Raises a RegistryError if there is no such role."""
    by = _delegator(registry, registry.read(), role)
    return [by.get_key(one) for one in by.get_delegated_role(role).keyids]


def _delegator(registry: SignedRegistry, found: SignedSet, role: str) -> Root | Targets:
    delegated = _delegated(found)
    if role not in {*_TOP_LEVEL, *delegated}:
        raise RegistryError(
            "there is no such role",
            where=registry.where,
            bound=", ".join((*_TOP_LEVEL, *delegated)),
            measured=role,
            remedy="name one of these roles",
        )
    return found.root.signed if role in _TOP_LEVEL else found.targets.signed


def _rotate_top_level(
    registry: SignedRegistry, role: str, found: SignedSet, elsewhere: tuple[bytes, str] | None
) -> str:
    root = found.root.signed
    signers = {signer.public_key.keyid: signer for signer in registry.signers_of(root, "root")}
    key = _new_key(registry, role, elsewhere)
    replaced = root.roles[role].keyids[0]
    if role != "root":
        # What the new key must sign is signed by both keys first, so that devices find a valid set at any time.
        if (signer := registry.keys.signer(key)) is not None:
            registry.extra = {role: signer}
        registry.commit(lambda new: {"targets": new.targets} if role == "targets" else {}, snapshot=role == "snapshot")
        registry.extra = {}
    root.add_key(key, role)
    root.revoke_key(replaced, role)
    root.version += 1
    days = expiry_days(root)["root"]
    root.expires = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)
    # The new root is signed as both the old and the new one require.
    signers |= {signer.public_key.keyid: signer for signer in registry.signers_of(root, "root")}
    name = f"{root.version}.root.json"
    with registry.store.exclusive():
        written = registry.store.write_if(name, sign(found.root, list(signers.values())), None)
    if not written:
        raise RegistryError(
            "another rotation was faster",
            where=f"{registry.where}: {name}",
            remedy="run the command again",
        )
    return replaced


def _new_key(registry: SignedRegistry, role: str, elsewhere: tuple[bytes, str] | None) -> Key:
    if elsewhere is not None:
        registry.keys, key = registry.keys.add_public(*elsewhere)
        return key
    signer = CryptoSigner.generate_ecdsa()
    registry.keys = registry.keys.add(signer, f"{role}-{signer.public_key.keyid[:8]}.pem")
    return signer.public_key

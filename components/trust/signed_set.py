"""The signed metadata of a registry, verified from a root that this machine trusts.

Metadata is verified before it is signed again. So an honest push never signs a file that somebody planted.
Expired metadata is accepted here: `refresh` must be able to sign it again. Devices refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from securesystemslib.exceptions import StorageError as _StorageError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from components.core.errors import RegistryError
from components.trust import rollout
from components.trust.names import CUSTOM, EXPIRY_DAYS, LOG_ENTRY, role_of, target_of
from components.trust.rollout import ChannelState, RolloutError
from components.trust.storage import Store

TIMESTAMP_NAME = "timestamp.json"
FIRST_ROOT_NAME = "1.root.json"
DEFAULT_EXPIRY_DAYS = {"root": 365, "targets": 365, "channels": 365, "snapshot": 30, "timestamp": 7}
# Python can't write integers with thousands of digits, and file systems can't store names with hundreds.
_LARGEST_VERSION = 10**100


@dataclass(frozen=True)
class SignedSet:
    """The current top-level metadata, and the requested delegated role.

    Attributes:
        root, timestamp, snapshot, targets: The top-level roles.
        timestamp_version: The version that the store compares when the timestamp is replaced.
    """

    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    timestamp_version: str

    @property
    def log_entry(self) -> str:
        """Name of the audit log's entry that is signed; empty if no entry has been signed yet."""
        return str(self.timestamp.signed.unrecognized_fields.get(LOG_ENTRY, ""))


def is_signed(store: Store) -> bool:
    """Whether a registry is signed. If a killed `init` left it half signed, it isn't: see `is_half_signed`.

    A registry in use whose first root was removed counts as signed.
    """
    if store.read(FIRST_ROOT_NAME) is not None:
        return True
    if (found := store.read(TIMESTAMP_NAME)) is None:
        return False
    try:
        return Metadata.from_bytes(found.content).signed.version != 1
    except (DeserializationError, _StorageError):
        return True


def is_half_signed(store: Store) -> bool:
    """Whether a killed `init` left a registry half signed: everything is there except the first root."""
    return not is_signed(store) and store.read(TIMESTAMP_NAME) is not None


def newest_root(store: Store, anchor: bytes, where: str) -> Metadata[Root]:
    """The newest root that the trusted one leads to: each root is signed by the previous one."""
    root = _parsed(anchor, Root, "root.json", where)
    checked(lambda: root.signed.verify_delegate("root", root.signed_bytes, root.signatures), "root.json", where)
    own = store.read(name := f"{root.signed.version}.root.json")
    if own is None or own.content != anchor:
        raise refused("the registry isn't the one that these keys sign: its root differs", name, where)
    while (found := store.read(name := f"{root.signed.version + 1}.root.json")) is not None:
        following = _parsed(found.content, Root, name, where)
        for one in (root, following):
            checked(
                lambda one=one, new=following: one.signed.verify_delegate("root", new.signed_bytes, new.signatures),
                name,
                where,
            )
        if following.signed.version != root.signed.version + 1:
            raise refused(f"it is version {following.signed.version}", name, where)
        root = following
    return root


def is_root(content: bytes) -> bool:
    """Whether a file is a root of signed metadata."""
    try:
        return isinstance(Metadata.from_bytes(content).signed, Root)
    except (DeserializationError, _StorageError):
        return False


def read_signed_set(store: Store, anchor: bytes, where: str) -> SignedSet:
    """Read and verify the top-level metadata.

    Raises:
        RegistryError: Something is missing, or isn't signed by its role.
    """
    root = newest_root(store, anchor, where)
    content = store.read(TIMESTAMP_NAME)
    if content is None:
        raise refused("it is missing", TIMESTAMP_NAME, where)
    timestamp = _parsed(content.content, Timestamp, TIMESTAMP_NAME, where)
    _verified(root.signed, "timestamp", timestamp, TIMESTAMP_NAME, where)
    snapshot = _listed(store, root.signed, "snapshot", timestamp.signed.snapshot_meta, Snapshot, where)
    if (listed := snapshot.signed.meta.get("targets.json")) is None:
        raise refused("it doesn't list targets.json", f"{snapshot.signed.version}.snapshot.json", where)
    targets = _listed(store, root.signed, "targets", listed, Targets, where)
    return SignedSet(root, timestamp, snapshot, targets, content.version)


def expiry_days(root: Root) -> dict[str, int]:
    """How long each kind of role is valid when it is signed."""
    found = root.unrecognized_fields.get(EXPIRY_DAYS)
    return {**DEFAULT_EXPIRY_DAYS, **(found if isinstance(found, dict) else {})}


def read_role(store: Store, found: SignedSet, role: str, where: str) -> Metadata[Targets] | None:
    """Read and verify a delegated role; None if it isn't delegated or has signed nothing yet."""
    listed = found.snapshot.signed.meta.get(f"{role}.json")
    delegations = found.targets.signed.delegations
    if listed is None or delegations is None or role not in (delegations.roles or {}):
        return None
    return _listed(store, found.targets.signed, role, listed, Targets, where)


def refused(what: str, name: str, where: str) -> RegistryError:
    """The error for signed metadata that can't be trusted."""
    return RegistryError(
        f"the signed metadata of the registry is refused: {what}",
        where=f"{where}: {name}",
        bound="metadata that the keys of its role signed",
        remedy="find out who changed it; restore it from a copy of the registry, then run again",
    )


def _listed(store: Store, by: Root | Targets, role: str, meta: MetaFile, kind: type[Any], where: str) -> Metadata[Any]:
    name = f"{meta.version}.{role}.json"
    content = store.read(name)
    if content is None:
        raise refused("it is missing", name, where)
    checked(lambda: meta.verify_length_and_hashes(content.content), name, where)
    found = _parsed(content.content, kind, name, where)
    _verified(by, role, found, name, where)
    if found.signed.version != meta.version:
        raise refused(f"it is version {found.signed.version}", name, where)
    return found


def _verified(by: Root | Targets, role: str, found: Metadata[Any], name: str, where: str) -> None:
    checked(lambda: by.verify_delegate(role, found.signed_bytes, found.signatures), name, where)


def _parsed(content: bytes, kind: type[Any], name: str, where: str) -> Metadata[Any]:
    try:
        found: Metadata[Any] = Metadata.from_bytes(content)
    except (DeserializationError, _StorageError) as error:
        raise refused("it can't be read", name, where) from error
    if not isinstance(found.signed, kind):
        raise refused(f"it has the type {found.signed.type}", name, where)
    if found.signed.version > _LARGEST_VERSION:
        raise refused("its version is so large that there is no next one", name, where)
    return found


def checked(check: Any, name: str, where: str) -> None:
    """Run a check of signed metadata, and convert its error."""
    try:
        check()
    except (RepositoryError, ValueError) as error:
        raise refused(str(error), name, where) from error


def examined(role: str, signed: Targets) -> Iterator[tuple[str, ChannelState | RolloutError]]:
    """Yield each target of a role with its state, or with the reason why it isn't one that the role may sign.

    Anyone with the key of a role can sign anything with it. Devices read only one target, so they ignore the others.
    Other code that reads or signs a role must not trust the others.
    """
    device_class, _, channel = role.rpartition(".")
    for path, target in signed.targets.items():
        try:
            state = rollout.from_custom(target.unrecognized_fields.get("custom"))
            if (state.device_class, state.channel) != (device_class, channel):
                raise RolloutError(f"it is about the channel {state.channel} of {state.device_class}")
            if path != target_of(device_class, state.name, channel):
                raise RolloutError(f"it is about {state.name}")
            if "sha256" not in target.hashes:
                raise RolloutError("its pointer has no SHA-256 digest")
        except RolloutError as error:
            yield path, error
        else:
            yield path, state


def problems(role: str, signed: Targets) -> dict[str, str]:
    """Map targets of a role that it may not sign, or that can't be read, to the reasons."""
    return {path: str(found) for path, found in examined(role, signed) if isinstance(found, RolloutError)}


def channel_in(role: Targets | None, device_class: str, name: str, channel: str, where: str) -> ChannelState:
    """The state of a channel in its role, with no stages if nothing was released.

    Raises:
        RegistryError: It is signed, but can't be used.
    """
    path = target_of(device_class, name, channel)
    found = dict(examined(role_of(device_class, channel), role)).get(path) if role else None
    if isinstance(found, RolloutError):
        raise RegistryError(
            f"the channel is signed, but can't be used: {found}",
            where=f"{where}: {path}",
            remedy="update edgemill; if this is the newest version, somebody else has the key: replace it with"
            " `edgemill registry rotate`, which drops this target, and push again",
        )
    return found or ChannelState(device_class, name, channel)


def next_sequence(before: ChannelState, role: Targets | None, where: str) -> int:
    """The number of the next change of a channel, which is new to every microcontroller.

    A state that is new, or was dropped, continues after the version of its role, because each change of a channel
    changes its role.

    Raises:
        RegistryError: There is no larger number.
    """
    last = before.sequence or min(role.version if role else 0, rollout.LARGEST_SEQUENCE // 2)
    if last >= rollout.LARGEST_SEQUENCE:
        raise RegistryError(
            "the channel can no longer be changed: the role files of microcontrollers can't hold a larger number",
            where=f"{where}: {target_of(before.device_class, before.name, before.channel)}",
            bound=f"fewer than {rollout.LARGEST_SEQUENCE:,} changes",
            remedy="somebody else has the key: rotate it with `edgemill registry rotate`, which restarts the number",
        )
    return last + 1


def clear(role: str, signed: Targets) -> list[str]:
    """Remove targets that a role may not sign, and restart impossible sequence numbers. Returns the changes."""
    said = []
    for path, why in problems(role, signed).items():
        del signed.targets[path]
        said.append(f"dropped {path}: {why}")
    for path, target in signed.targets.items():
        state = rollout.from_custom(target.custom)
        # Each change of a channel changes its role, so its number is at most the version of the role.
        if state.sequence > (most := min(signed.version, rollout.LARGEST_SEQUENCE // 2)):
            target.unrecognized_fields["custom"][CUSTOM]["sequence"] = most
            said.append(f"restarted the number of {path}: {state.sequence:,} becomes {most:,}")
    return said

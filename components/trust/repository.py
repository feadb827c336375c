"""Changes of a signed registry.

Files other than the timestamp are created under new names and never replaced. The timestamp is replaced in one step, if
it hasn't changed since it was read. That is the commit point: devices see the set before or after it. If another change
committed first, everything is read again. A killed change leaves files that nothing refers to.

Versions of the snapshot and of roles grow, but may have gaps: a name that is taken is skipped.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner, Key, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, Root, TargetFile, Targets

from components.core.errors import RegistryError
from components.trust import clock, role_file, rollout
from components.trust.keys import KeySet, key_in, missing_keys, read_key_set
from components.trust.names import CHANNELS, CUSTOM, FOR_TIMESTAMP, LOG_ENTRY, SIGNED_AT, paths_of, role_of, target_of
from components.trust.older import check_root, floors
from components.trust.reader import SignedReader
from components.trust.signed_set import (
    TIMESTAMP_NAME,
    SignedSet,
    channel_in,
    expiry_days,
    next_sequence,
    read_role,
)
from components.trust.signing import role_files, sign
from components.trust.storage import Store
from components.trust.store_errors import OvertakenError

_MOST_ATTEMPTS = 50
_LONGEST_PAUSE_SECONDS = 0.2


class SignedRegistry(SignedReader):
    """A signed registry, and the keys of this machine.

    Attributes:
        keys: The key set.
        extra: Signers that also sign a role, while its key is replaced.
        entry: Name of the audit log's entry about the next change, which is signed with the timestamp. If it is empty,
            the previously signed entry stays.
        any_clock: Whether to sign with a clock that is behind the last signature.
    """

    def __init__(self, root: str, store: Store, keys: KeySet) -> None:
        super().__init__(root, store, keys.root, keys.folder)
        self.keys = keys
        self.extra: dict[str, Signer] = {}
        self.entry = ""
        self.any_clock = False
        self._floors: dict[str, int] = {}

    def accept_older(self) -> None:
        """Accept a signed set that is older than what was signed before, and sign above all versions of that."""
        self.accepts_older = True
        found, seen = self.read(), self.memory.read()
        check_root(found, seen, self.where)
        self._floors = floors(self.store, found, seen)

    def check_keys(self, device_class: str, channel: str) -> None:
        """Check that this machine can sign a channel, before anything is written."""
        check_channel(channel, self.where)
        found = self._read_with_keys()
        clock.check_clock(found, self.where)
        self.signers_of(found.root.signed, "snapshot")
        self.signers_of(found.root.signed, "timestamp")
        delegations = found.targets.signed.delegations
        if delegations is not None and role_of(device_class, channel) in (delegations.roles or {}):
            self.signers_of(found.targets.signed, role_of(device_class, channel))
        else:
            self.signers_of(found.root.signed, "targets")
            self.keys.check_writable()

    def change_channel(
        self,
        device_class: str,
        name: str,
        channel: str,
        change: Callable[[rollout.ChannelState], rollout.ChannelState],
        pointer: Callable[[rollout.ReleaseRef], bytes],
    ) -> rollout.ChannelState:
        """Change the state of a channel, and sign it. Nothing is written if the state stays the same.

        Raises:
            RegistryError: Keys are missing, the metadata can't be trusted, or the channel doesn't allow the change.
        """
        check_channel(channel, self.where)
        role_name = role_of(device_class, channel)

        result: list[rollout.ChannelState] = []

        def edit(found: SignedSet) -> dict[str, Metadata[Targets]] | None:
            delegations = found.targets.signed.delegations
            new = delegations is None or role_name not in (delegations.roles or {})
            role = read_role(self.store, found, role_name, self.where)
            before = channel_in(role.signed if role else None, device_class, name, channel, self.where)
            try:
                result[:] = [change(before)]
            except rollout.RolloutError as error:
                raise change_refused(error, before, self.where) from error
            if result[0] == before and (before.sequence or not before.stages):
                return None
            result[0] = replace(result[0], sequence=next_sequence(before, role.signed if role else None, self.where))
            role = role or Metadata(Targets())
            role.signed.targets[target_of(device_class, name, channel)] = self.target(result[0], pointer)
            if not new:
                return {role_name: role}
            # A delegated role must have signed something. Otherwise, devices treat it as missing.
            empty = {role_of(device_class, other): Metadata(Targets()) for other in CHANNELS}
            return {"targets": self.delegate(found, device_class), **empty, role_name: role}

        self.commit(edit)
        return result[0]

    def commit(
        self, edit: Callable[[SignedSet], dict[str, Metadata[Targets]] | None], *, snapshot: bool = False
    ) -> None:
        """Sign the roles that `edit` returns, then the snapshot and the timestamp.

        It starts again if another change commits first.

        Args:
            edit: Returns the roles to sign; None to change nothing.
            snapshot: Whether to sign the snapshot again even if no role changes.
        """
        for _ in range(_MOST_ATTEMPTS):
            with suppress(OvertakenError), self.store.exclusive():
                if self._commit_once(edit, snapshot=snapshot):
                    return
            time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
        raise RegistryError(
            "other processes keep changing this registry",
            where=self.where,
            bound=f"no other change during one of {_MOST_ATTEMPTS} attempts",
            remedy="run again when fewer pipelines push",
        )

    def _commit_once(self, edit: Callable[[SignedSet], dict[str, Metadata[Targets]] | None], *, snapshot: bool) -> bool:
        found = self._read_with_keys()
        roles = edit(found)
        if roles is None:
            return True
        if not self.any_clock:
            clock.check_clock(found, self.where)
        content = self.prepared(found, roles, snapshot=snapshot)
        if not self.store.write_if(TIMESTAMP_NAME, content, found.timestamp_version):
            return False
        self.memory.keep(found.root.signed.version, found.timestamp, found.snapshot, in_force=True)
        return True

    def _read_with_keys(self) -> SignedSet:
        """Read the metadata, and then the keys: another process that adds a role writes its keys first."""
        found = self.read()
        self.keys = read_key_set(self.keys.folder)
        return found

    def prepared(self, found: SignedSet, roles: dict[str, Metadata[Targets]], *, snapshot: bool) -> bytes:
        """Sign and write everything but the timestamp, and return the timestamp, which makes it valid."""
        root, days = found.root.signed, expiry_days(found.root.signed)
        listed, timestamp = found.snapshot.signed, found.timestamp.signed
        timestamp.version = max(timestamp.version, self._floors.get("timestamp", 0)) + 1
        for role, metadata in roles.items():
            by: Root | Targets = root
            if role != "targets":
                by = roles["targets"].signed if "targets" in roles else found.targets.signed
            known = listed.meta.get(f"{role}.json")
            metadata.signed.version = max(known.version if known else 0, self._floors.get(role, 0))
            kind = "targets" if role == "targets" else "channels"
            listed.meta[f"{role}.json"] = self._written(metadata, role, by, days[kind])
        if roles or snapshot:
            listed.version = max(listed.version, self._floors.get("snapshot", 0))
            listed.unrecognized_fields[FOR_TIMESTAMP] = timestamp.version
            timestamp.snapshot_meta = self._written(found.snapshot, "snapshot", root, days["snapshot"])
        return self._signed(found.timestamp, "timestamp", root, days["timestamp"])

    def delegate(self, found: SignedSet, device_class: str, channels: Sequence[str] = CHANNELS) -> Metadata[Targets]:
        """Delegate the channels of a device class to new keys, which are added to the key set."""
        self.signers_of(found.root.signed, "targets")
        targets = found.targets.signed
        delegations = targets.delegations or Delegations({}, {})
        roles = delegations.roles or {}
        with self.keys.locked() as self.keys:
            for channel in channels:
                key = self._channel_key(f"{device_class}.{channel}.pem")
                delegations.keys[key.keyid] = key
                role, paths = role_of(device_class, channel), paths_of(device_class, channel)
                roles[role] = DelegatedRole(role, [key.keyid], 1, terminating=True, paths=paths)
        delegations.roles = roles
        targets.delegations = delegations
        return found.targets

    def _channel_key(self, file: str) -> Key:
        """The public key in a file of the key set, which is created if it doesn't exist."""
        signer = key_in(path := self.keys.folder / file)
        if signer is None:
            path.unlink(missing_ok=True)
            signer = CryptoSigner.generate_ecdsa()
            self.keys = self.keys.add(signer, file)
        elif signer.public_key.keyid not in self.keys.file.keys:
            self.keys = self.keys.having(signer, file)
        return signer.public_key

    def target(self, state: rollout.ChannelState, pointer: Callable[[rollout.ReleaseRef], bytes]) -> TargetFile:
        """Return the target that contains the state of a channel, after writing its file."""
        content = pointer(state.named)
        path = target_of(state.device_class, state.name, state.channel)
        target = TargetFile.from_data(path, content, ["sha256"])
        target.unrecognized_fields["custom"] = {CUSTOM: rollout.to_json(state)}
        folder, _, file = path.rpartition("/")
        # Named by its content, as in The Update Framework, so an existing file is the same.
        self.store.write_if(f"targets/{folder}/{target.hashes['sha256']}.{file}", content, None)
        return target

    def _written(self, metadata: Metadata[Any], role: str, by: Root | Targets, days: int) -> MetaFile:
        """Sign metadata as the next version whose name is free, and write it."""
        while True:
            metadata.signed.version += 1
            content = self._signed(metadata, role, by, days)
            if self.store.write_if(f"{metadata.signed.version}.{role}.json", content, None):
                return MetaFile.from_data(metadata.signed.version, content, ["sha256"])

    def _signed(self, metadata: Metadata[Any], role: str, by: Root | Targets, days: int) -> bytes:
        now = clock.now()
        metadata.signed.expires = now + timedelta(days=days)
        if role == "timestamp":
            metadata.signed.unrecognized_fields[SIGNED_AT] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
            if self.entry:
                metadata.signed.unrecognized_fields[LOG_ENTRY] = self.entry
        signers = self.signers_of(by, role)
        if isinstance(metadata.signed, Targets):
            for target in metadata.signed.targets.values():
                _add_role_files(target, metadata.signed.expires, signers[0])
        return sign(metadata, signers)

    def signers_of(self, by: Root | Targets, role: str) -> list[Signer]:
        """The signers of a role. Raises a RegistryError if they don't meet its threshold."""
        delegated = by.get_delegated_role(role)
        signers = [signer for key in delegated.keyids if (signer := self.keys.signer(by.get_key(key)))]
        if len(signers) < delegated.threshold:
            raise missing_keys(self.where, role, delegated.threshold, len(signers))
        return [*signers, self.extra[role]] if role in self.extra else signers


def _add_role_files(target: TargetFile, expires: datetime, signer: Signer) -> None:
    """Sign the role files of a channel's releases with the channel's own key, because its gateway is not trusted."""
    with suppress(rollout.RolloutError):  # A state that can't be read gives nothing to any device.
        custom: Any = target.unrecognized_fields.get("custom")
        custom[role_file.CUSTOM] = role_files(rollout.from_custom(custom), expires, signer)


def change_refused(error: rollout.RolloutError, state: rollout.ChannelState, root: str) -> RegistryError:
    """The error for a change that the state of a channel doesn't allow."""
    return RegistryError(
        f"the channel cannot be changed: {error}",
        where=f"{root}: {target_of(state.device_class, state.name, state.channel)}",
        bound=error.bound or None,
        measured=rollout.described(state),
        remedy=error.remedy or "look at `edgemill registry status`",
    )


def check_channel(channel: str, where: str) -> None:
    """Raise a RegistryError for a channel that signed registries don't have."""
    if channel not in CHANNELS:
        raise RegistryError(
            "a signed registry has no such channel",
            where=where,
            bound=f"one of {', '.join(CHANNELS)}",
            measured=channel,
            remedy="choose one of these channels",
        )

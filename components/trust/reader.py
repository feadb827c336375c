"""Reads what devices get from a signed registry. It needs no private keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets

from components.core.errors import RegistryError
from components.trust import rollout
from components.trust.memory import Memory
from components.trust.names import SIGNED, role_of
from components.trust.older import is_current
from components.trust.signed_set import SignedSet, channel_in, examined, problems, read_role, read_signed_set
from components.trust.storage import Store

TOP_LEVEL = ("root", "targets", "snapshot", "timestamp")


class SignedReader:
    """A signed registry, and the root that is trusted.

    Attributes:
        where, store: Its folder or address, and its metadata.
        memory: What this machine remembers of it.
        accepts_older: Whether a set that is older than what was signed before is accepted.
    """

    def __init__(self, root: str, store: Store, anchor: bytes, keys: Path | None = None) -> None:
        self.where, self.store = root, store
        self._anchor = anchor
        self.memory = Memory(root, anchor, keys)
        self.accepts_older = False

    def read(self) -> SignedSet:
        """Read and verify the top-level metadata.

        Raises:
            RegistryError: It can't be trusted, or it is older than what was signed before.
        """
        seen = self.memory.read()  # Before the registry is read, which can only be newer.
        while True:
            found = read_signed_set(self.store, self._anchor, self.where)
            if self.accepts_older:
                return found
            if is_current(self.store, found, seen, self.where):
                self.memory.keep(found.root.signed.version, found.timestamp, found.snapshot)
                return found

    def logged(self) -> tuple[str, ...]:
        """The name of the audit log's entry that is signed, which the next one must name; none without one.

        Otherwise, entries that were removed would be forgotten with the next signature.
        """
        return tuple(filter(None, [self.read().log_entry]))

    def channel(self, device_class: str, name: str, channel: str) -> rollout.ChannelState:
        """The verified state of a channel, with no stages if nothing was released."""
        found = self.read()
        role = read_role(self.store, found, role_of(device_class, channel), self.where)
        return channel_in(role.signed if role else None, device_class, name, channel, self.where)

    def channels(self, of: str = "") -> list[rollout.ChannelState]:
        """The verified states in the roles that begin with `of`, without targets that a role may not sign."""
        states = [
            state
            for role, metadata in self._roles(of)
            for _, state in examined(role, metadata.signed)
            if isinstance(state, rollout.ChannelState)
        ]
        return sorted(states, key=lambda one: (one.device_class, one.name, SIGNED.index(one.channel)))

    def public_keys(self, role: str) -> list[Key]:
        """The public keys of a role. Raises a RegistryError if there is no such role."""
        by = delegator_of(self.read(), role, self.where)
        return [by.get_key(one) for one in by.get_delegated_role(role).keyids]

    def problems(self) -> dict[str, str]:
        """Map targets that roles signed without permission, or that can't be read, to the reasons."""
        return {
            f"{role}: {path}": why
            for role, metadata in self._roles()
            for path, why in problems(role, metadata.signed).items()
        }

    def _roles(self, of: str = "") -> Iterator[tuple[str, Metadata[Targets]]]:
        found = self.read()
        for role in delegated_roles(found):
            if role.startswith(of) and (metadata := read_role(self.store, found, role, self.where)) is not None:
                yield role, metadata


def delegated_roles(found: SignedSet) -> tuple[str, ...]:
    """The names of the roles that aren't top-level."""
    delegations = found.targets.signed.delegations
    return tuple(delegations.roles or ()) if delegations else ()


def delegator_of(found: SignedSet, role: str, where: str) -> Root | Targets:
    """The metadata that lists the keys of a role. Raises a RegistryError if there is no such role."""
    delegated = delegated_roles(found)
    if role not in {*TOP_LEVEL, *delegated}:
        raise RegistryError(
            "there is no such role",
            where=where,
            bound=", ".join((*TOP_LEVEL, *delegated)),
            measured=role,
            remedy="choose one of these roles",
        )
    return found.root.signed if role in TOP_LEVEL else found.targets.signed

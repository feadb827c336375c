"""The current state of a signed registry: every role, every channel, and the files that contain them."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass

from tuf.api.metadata import Metadata, Targets
from tuf.api.serialization import DeserializationError

from components.core.errors import RegistryError
from components.object_store.bucket import Content
from components.trust import rollout
from components.trust.memory import Memory
from components.trust.names import EXPIRY_DAYS, SIGNED
from components.trust.older import is_current
from components.trust.signed_set import (
    FIRST_ROOT_NAME,
    SignedSet,
    checked,
    examined,
    read_role,
    read_signed_set,
    refused,
)
from components.trust.storage import Store

_VERSIONED = re.compile(r"(\d+)\.(.+)\.json")


@dataclass(frozen=True)
class Reading:
    """A signed registry.

    Attributes:
        found: The top-level metadata.
        states: The state of each channel that has releases, sorted.
        files: Name -> content of every file that is in force: all roots, the timestamp, and the files that it leads to.
        missing: Names of pointers that are signed, but not there. No device needs them.
    """

    found: SignedSet
    states: tuple[rollout.ChannelState, ...]
    files: dict[str, bytes]
    missing: tuple[str, ...]

    def superseded(self, names: list[str]) -> list[str]:
        """Return the names of older versions of files that are in force. Nothing ever refers to them again.

        A push that is running writes newer versions, or it fails because its timestamp is no longer in force.
        """
        in_force = {match[2]: int(match[1]) for name in self.files if (match := _VERSIONED.fullmatch(name))}
        found = []
        for name in names:
            match = _VERSIONED.fullmatch(name)
            if match and match[2] != "root" and int(match[1]) < in_force.get(match[2], 0):
                found.append(name)
        return found


def read_everything(store: Store, anchor: bytes | None, where: str, memory: Memory | None = None) -> Reading:
    """Read and verify all signed metadata.

    Args:
        store: Where the metadata is.
        anchor: The root that is trusted; None to trust the registry's own first root.
        where: The registry, for messages.
        memory: What this machine remembers of it. Without it, the set can be old.

    Raises:
        OlderError: It is older than what was signed before.
        RegistryError: Something is missing, or isn't signed by its role.
    """
    if anchor is None:
        first = store.read(FIRST_ROOT_NAME)
        if first is None:
            raise refused("it is missing", FIRST_ROOT_NAME, where)
        anchor = first.content
    seen = memory.read() if memory else None  # Before the registry is read, which can only be newer.
    while True:
        files = _Kept(store)
        found = read_signed_set(files, anchor, where)
        if memory is None or is_current(store, found, seen, where):
            break
    if memory is not None:
        memory.keep(found.root.signed.version, found.timestamp, found.snapshot)
    for version in range(1, found.root.signed.version):
        if files.read(name := f"{version}.root.json") is None:
            raise refused("it is missing", name, where)
    states: list[rollout.ChannelState] = []
    missing: list[str] = []
    delegations = found.targets.signed.delegations
    for name in (delegations.roles or {}) if delegations else {}:
        role = read_role(files, found, name, where)
        states += _states(name, role, where) if role else ()
        for path, target in role.signed.targets.items() if role else ():
            folder, _, file = path.rpartition("/")
            pointer = f"targets/{folder}/{target.hashes['sha256']}.{file}"
            if (content := files.read(pointer)) is None:
                missing.append(pointer)
            else:
                checked(lambda one=target, read=content: one.verify_length_and_hashes(read.content), pointer, where)
    states.sort(key=lambda one: (one.device_class, one.name, SIGNED.index(one.channel)))
    return Reading(found, tuple(states), files.content, tuple(missing))


def signed_at(store: Store, name: str) -> float | None:
    """When a file was signed, in seconds since the epoch, by its expiry; None if unknown."""
    found, root = store.read(name), store.read(FIRST_ROOT_NAME)
    if found is None or root is None:
        return None
    try:
        signed = Metadata.from_bytes(found.content).signed
        days = Metadata.from_bytes(root.content).signed.unrecognized_fields[EXPIRY_DAYS]
    except (DeserializationError, KeyError):
        return None
    role = name.partition(".")[2].removesuffix(".json")
    return signed.expires.timestamp() - 86_400.0 * float(days.get(role, days["channels"]))


def _states(name: str, role: Metadata[Targets], where: str) -> list[rollout.ChannelState]:
    states = []
    for path, found in examined(name, role.signed):
        if isinstance(found, rollout.RolloutError):
            raise RegistryError(
                f"it is signed, but can't be used: {found}",
                where=f"{where}: {path} of {name}",
                remedy="update edgemill; if this is the newest version, somebody else has the key: rotate it",
            )
        states.append(found)
    return states


class _Kept:
    """A store that remembers the files that were read."""

    def __init__(self, store: Store) -> None:
        self._store, self.words = store, store.words
        self.content: dict[str, bytes] = {}

    def read(self, name: str) -> Content | None:
        found = self._store.read(name)
        if found is not None:
            self.content[name] = found.content
        return found

    def write_if(self, name: str, content: bytes, version: str | None) -> bool:
        return self._store.write_if(name, content, version)

    def exclusive(self) -> AbstractContextManager[None]:
        return self._store.exclusive()

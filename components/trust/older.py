"""Refuses signed sets that are older than what was signed before.

As a client of The Update Framework does (section 5 of its specification), a machine compares a set with the newest one
that it remembers (`memory`). What a replaced key signed no longer counts.

A machine that remembers nothing still has what lies in the registry. Each snapshot says which version of the timestamp
it was signed for. A push signs it only after it has read the version before. So a snapshot for a version after the next
one shows that the timestamp was newer. A snapshot for the next version shows nothing: a killed push leaves one. Then
there is a warning.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from securesystemslib.exceptions import StorageError as _StorageError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot
from tuf.api.serialization import DeserializationError

from components.core.errors import RegistryError
from components.trust.memory import STATE, Seen
from components.trust.names import FOR_TIMESTAMP
from components.trust.signed_set import TIMESTAMP_NAME, SignedSet
from components.trust.storage import Store

_LOG = logging.getLogger(__name__)


class OlderError(RegistryError):
    """The signed metadata of a registry is older than what was signed before."""


def is_current(store: Store, found: SignedSet, seen: Seen | None, where: str) -> bool:
    """Check that a signed set is the newest one.

    Args:
        store: Where it was read.
        found: The set.
        seen: What was remembered before the set was read.
        where: The registry, for messages.

    Returns:
        Whether it still is what the store has. Otherwise, read it again.

    Raises:
        OlderError: A newer one was signed.
    """
    try:
        if seen is not None:
            _check_seen(found, seen, where)
        _check_present(store, found, where, is_remembered=seen is not None)
    except OlderError:
        # Another process can have signed between the two readings.
        now = store.read(TIMESTAMP_NAME)
        if now is None or now.version == found.timestamp_version:
            raise
        return False
    return True


def check_root(found: SignedSet, seen: Seen | None, where: str) -> None:
    """Raise an OlderError if the root is older than what was remembered. Nothing can be signed above that."""
    if seen is not None and found.root.signed.version < seen.root:
        raise OlderError(
            "the root of the registry is older than the one that this machine has verified before",
            where=f"{where}: {seen.root}.root.json",
            bound=f"version {seen.root} or higher",
            measured=found.root.signed.version,
            remedy="restore the file: `edgemill registry repair --from` a mirror",
        )


def floors(store: Store, found: SignedSet, seen: Seen | None) -> dict[str, int]:
    """Map roles to the highest versions that devices can have seen, to sign above them."""
    highest = {"timestamp": found.timestamp.signed.version, "snapshot": found.snapshot.signed.version}
    snapshots = _following(store, found)
    if seen is not None:
        highest["timestamp"] = max(highest["timestamp"], seen.timestamp.signed.version)
        snapshots.append(seen.snapshot)
    for one in snapshots:
        meta = {name.removesuffix(".json"): file.version for name, file in one.signed.meta.items()}
        for role, version in {**meta, "snapshot": one.signed.version, "timestamp": _is_for(one) or 0}.items():
            highest[role] = max(highest.get(role, 0), version)
    return highest


def _check_seen(found: SignedSet, seen: Seen, where: str) -> None:
    check_root(found, seen, where)
    root = found.root.signed
    if not _is_signed_by(root, "timestamp", seen.timestamp):
        return
    before, after = seen.timestamp.signed, found.timestamp.signed
    if after.version < before.version:
        raise _older(where, "timestamp.json", f"version {before.version}", f"version {after.version}")
    if after.version == before.version and found.timestamp.signed_bytes != seen.timestamp.signed_bytes:
        raise _older(
            where, TIMESTAMP_NAME, f"unchanged version {before.version}", f"version {after.version} with other content"
        )
    if not _is_signed_by(root, "snapshot", seen.snapshot):
        return
    if found.snapshot.signed.version < seen.snapshot.signed.version:
        raise _older(
            where,
            f"{found.snapshot.signed.version}.snapshot.json",
            f"version {seen.snapshot.signed.version} or higher",
            f"version {found.snapshot.signed.version}",
        )
    for name, file in seen.snapshot.signed.meta.items():
        listed = found.snapshot.signed.meta.get(name)
        if listed is None or listed.version < file.version:
            raise _older(
                where,
                f"{found.snapshot.signed.version}.snapshot.json: {name}",
                f"version {file.version} or higher",
                f"version {listed.version}" if listed else "it is not listed",
            )


def _check_present(store: Store, found: SignedSet, where: str, *, is_remembered: bool) -> None:
    version = found.timestamp.signed.version
    for newer in _following(store, found):
        if (expected := (_is_for(newer) or 0) - 1) > version:
            raise _older(
                where,
                TIMESTAMP_NAME,
                f"version {expected} or higher, because {newer.signed.version}.snapshot.json was signed after it",
                f"version {version}",
            )
        if not is_remembered:
            _warn(where, version, newer.signed.version)


def _following(store: Store, found: SignedSet) -> list[Metadata[Snapshot]]:
    """The validly signed snapshots after the one that is in force, which the registry has."""
    newer: list[Metadata[Snapshot]] = []
    while True:
        version = found.snapshot.signed.version + len(newer) + 1
        if (file := store.read(f"{version}.snapshot.json")) is None:
            return newer
        try:
            one: Metadata[Any] = Metadata.from_bytes(file.content)
        except (DeserializationError, _StorageError):
            return newer
        is_next = isinstance(one.signed, Snapshot) and one.signed.version == version
        if not is_next or not _is_signed_by(found.root.signed, "snapshot", one):
            return newer
        newer.append(one)


def _is_for(snapshot: Metadata[Snapshot]) -> int | None:
    value = snapshot.signed.unrecognized_fields.get(FOR_TIMESTAMP)
    return value if isinstance(value, int) else None


def _is_signed_by(root: Root, role: str, metadata: Metadata[Any]) -> bool:
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return False
    return True


def _older(where: str, name: str, bound: str, measured: str) -> OlderError:
    return OlderError(
        "the signed metadata of the registry is older than what was signed before: an old file was restored, or a "
        "copy was not finished. Edgemill signs nothing on top of it",
        where=f"{where}: {name}",
        bound=bound,
        measured=measured,
        remedy="restore the newest set with `edgemill registry repair`, if necessary `--from` a mirror, or finish the"
        " copy. If you restored an old copy on purpose, `edgemill registry refresh --accept-older` signs it as the"
        " newest",
    )


@functools.cache
def _warn(where: str, timestamp: int, snapshot: int) -> None:
    """Log once that a set is possibly older: a command verifies a registry many times."""
    _LOG.warning(
        "%s: %d.snapshot.json was signed after timestamp.json, version %d. Either a change was interrupted, or somebody"
        " put an older timestamp back; this machine doesn't remember which. Remedy: run `edgemill registry verify` on a"
        " machine that signed or verified the registry before, and set %s on this one",
        where,
        snapshot,
        timestamp,
        STATE,
    )

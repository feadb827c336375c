"""What this machine remembers of signed registries, so that nobody without keys can put an older signed set back.

As a client of The Update Framework does (section 5 of its specification), a machine keeps the newest root version,
timestamp, and snapshot that it has verified or signed, and refuses older ones. What a replaced key signed no longer
counts. Nothing secret is kept.

A machine that remembers nothing still has what lies in the registry. Each snapshot says which version of the timestamp
it was signed for. A push signs it only after it has read the version before. So a snapshot for a version after the next
one shows that the timestamp was newer. A snapshot for the next version shows nothing: a killed push leaves one.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.exceptions import StorageError as _StorageError
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Timestamp
from tuf.api.serialization import DeserializationError

from components.core.errors import RegistryError, SpecError
from components.core.files import sha256_of_bytes, write_atomically
from components.trust.names import FOR_TIMESTAMP
from components.trust.signed_set import TIMESTAMP_NAME, SignedSet
from components.trust.storage import Store

STATE = "EDGEMILL_STATE"
FOLDER_IN_KEYS = ".seen"


class OlderError(RegistryError):
    """The signed metadata of a registry is older than what was signed before."""


@dataclass(frozen=True)
class Seen:
    """The newest signed set that was seen.

    Attributes:
        root: Version of the root.
        timestamp, snapshot: The metadata.
    """

    root: int
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]


class Memory:
    """The newest signed set of a registry that this machine has seen, in a file."""

    def __init__(self, where: str, anchor: bytes, keys: Path | None = None) -> None:
        """Choose the file: in the folder that EDGEMILL_STATE names, or in the key set's. Without either, there is none.

        Args:
            where: The registry.
            anchor: The root that is trusted.
            keys: The folder of the key set.
        """
        self._where = where
        self._is_chosen = bool(chosen := os.environ.get(STATE, ""))
        folder = Path(chosen) if chosen else keys / FOLDER_IN_KEYS if keys else None
        name = sha256_of_bytes(where.encode() + b"\0" + anchor)[:32]
        self._path = folder / f"{name}.json" if folder else None

    def read(self) -> Seen | None:
        """Return the newest signed set that was seen. Raises a SpecError if the file can't be read."""
        if self._path is None:
            return None
        try:
            value = json.loads(self._path.read_bytes())
            timestamp: Metadata[Any] = Metadata.from_dict(value["timestamp"])
            snapshot: Metadata[Any] = Metadata.from_dict(value["snapshot"])
            return Seen(int(value["root"]), timestamp, snapshot)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError, DeserializationError) as error:
            raise SpecError(
                f"this machine's record of the registry cannot be read: {error}",
                where=str(self._path),
                bound="the file as Edgemill wrote it",
                remedy="verify the registry against a mirror; then remove the file",
            ) from error

    def keep(self, root: int, timestamp: Metadata[Any], snapshot: Metadata[Any]) -> None:
        """Remember a signed set that was verified. If the file can't be written, nothing is remembered."""
        if self._path is None:
            return
        value = {
            "registry": self._where,
            "root": root,
            "timestamp": timestamp.to_dict(),
            "snapshot": snapshot.to_dict(),
        }
        content = json.dumps(value, indent=1, sort_keys=True).encode()
        try:
            with suppress(FileNotFoundError, NotADirectoryError):
                if self._path.read_bytes() == content:
                    return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path, content)
        except OSError as error:
            if self._is_chosen:
                raise SpecError(
                    f"this machine's record of the registry cannot be written: {error.strerror or error}",
                    where=str(self._path),
                    bound="a folder that can be written",
                    remedy=f"correct {STATE}",
                ) from error


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
        _check_present(store, found, where)
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


def _check_present(store: Store, found: SignedSet, where: str) -> None:
    version = found.timestamp.signed.version
    for newer in _following(store, found):
        if (expected := (_is_for(newer) or 0) - 1) > version:
            raise _older(
                where,
                TIMESTAMP_NAME,
                f"version {expected} or higher, because {newer.signed.version}.snapshot.json was signed after it",
                f"version {version}",
            )


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

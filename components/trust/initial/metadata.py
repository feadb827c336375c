"""The empty set that is signed first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from components.core.errors import RegistryError
from components.trust import clock
from components.trust.keys import KeySet
from components.trust.names import LOG_ENTRY, SIGNED_AT
from components.trust.signed_set import FIRST_ROOT_NAME, TIMESTAMP_NAME
from components.trust.signing import sign
from components.trust.storage import Store


def is_complete(store: Store) -> bool:
    """Whether a registry is signed, and not only half. One in use whose first root was removed counts as signed."""
    if store.read(FIRST_ROOT_NAME) is not None:
        return True
    if (found := store.read(TIMESTAMP_NAME)) is None:
        return False
    try:
        return Metadata.from_bytes(found.content).signed.version != 1
    except (DeserializationError, StorageError):
        return True


def write_initial(
    root: str, store: Store, keys: KeySet, signers: dict[str, list[CryptoSigner]], days: dict[str, int], entry: str
) -> None:
    """Sign an empty set, and write it and then the first root.

    Raises:
        RegistryError: Another process has just signed the registry. What it signed stays.
    """
    now = clock.now()

    def signed(role: str, metadata: Metadata[Any]) -> bytes:
        metadata.signed.expires = now + timedelta(days=days[role])
        return sign(metadata, list(signers[role]))

    def written(role: str, metadata: Metadata[Any]) -> MetaFile:
        while not store.write_if(f"{metadata.signed.version}.{role}.json", content := signed(role, metadata), None):
            metadata.signed.version += 1
        return MetaFile.from_data(metadata.signed.version, content, ["sha256"])

    with store.exclusive():
        before = store.read(TIMESTAMP_NAME)
        targets = written("targets", Metadata(Targets()))
        snapshot = written("snapshot", Metadata(Snapshot(meta={"targets.json": targets})))
        timestamp = Timestamp(snapshot_meta=snapshot)
        timestamp.unrecognized_fields[SIGNED_AT] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        if entry:
            timestamp.unrecognized_fields[LOG_ENTRY] = entry
        content = signed("timestamp", Metadata(timestamp))
        if is_complete(store) or not store.write_if(TIMESTAMP_NAME, content, before.version if before else None):
            raise _overtaken(root)
        if not store.write_if(FIRST_ROOT_NAME, keys.root, None):
            found = store.read(TIMESTAMP_NAME)
            if found is not None and found.content == content and before is not None:
                # The other process has signed with the timestamp that this one has replaced.
                store.write_if(TIMESTAMP_NAME, before.content, found.version)
            raise _overtaken(root)


def _overtaken(root: str) -> RegistryError:
    return RegistryError(
        "another process has just signed this registry",
        where=root,
        bound="one `edgemill registry init` at a time",
        remedy="use its keys: EDGEMILL_KEYS; if it was killed, run again",
    )

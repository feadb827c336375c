"""What this machine remembers of signed registries, so that nobody without keys can put an older signed set back.

As a client of The Update Framework does (section 5 of its specification), a machine keeps the newest root version,
timestamp, and snapshot that it has verified or signed. `older` refuses older ones. Nothing secret is kept.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Snapshot, Timestamp

from components.core.errors import EdgemillError, RegistryUnreachableError, SpecError, StorageError
from components.core.files import sha256_of_bytes
from components.object_store.bucket import ADDRESS_PATTERN, Bucket, Content, below, is_address, split
from components.object_store.clients import bucket_of
from components.object_store.folder import FolderBucket

_LOG = logging.getLogger(__name__)
STATE = "EDGEMILL_STATE"
FOLDER_IN_KEYS = ".seen"
# How often another machine can be faster.
_MOST_ATTEMPTS = 20


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

    @property
    def age(self) -> tuple[int, int]:
        """Grows with each change. A new root can restart the versions of the timestamp."""
        return self.root, self.timestamp.signed.version


class Memory:
    """The newest signed set of a registry that was seen, in a file.

    Machines that have no lasting storage of their own can share a folder of an object store.
    """

    def __init__(self, where: str, anchor: bytes, keys: Path | None = None) -> None:
        """Choose the file: in EDGEMILL_STATE, a folder or an address, or in the key set. Without either, there is none.

        Args:
            where: The registry.
            anchor: The root that is trusted.
            keys: The folder of the key set.

        Raises:
            SpecError: EDGEMILL_STATE has an address that no object store has.
        """
        self._where = where
        self._chosen = os.environ.get(STATE, "")
        self._folder = self._chosen or (str(keys / FOLDER_IN_KEYS) if keys else "")
        digest = sha256_of_bytes(where.encode() + b"\0" + anchor)
        self._name = f"{digest[:32]}.json"
        if "://" in self._chosen and not re.fullmatch(ADDRESS_PATTERN, self._chosen):
            raise SpecError(
                "this is not a folder or an address in an object store",
                where=STATE,
                bound="a folder, s3://BUCKET/PREFIX, or gs://BUCKET/PREFIX",
                remedy="correct it; credentials and endpoint come from the environment",
            )

    def read(self) -> Seen | None:
        """Return the newest signed set that was seen.

        Raises:
            SpecError: The file can't be read.
            RegistryError: The object store can't be read.
        """
        if not self._folder:
            return None
        found = self._read()
        return None if found is None else self._parsed(found.content)

    def keep(self, root: int, timestamp: Metadata[Any], snapshot: Metadata[Any], *, in_force: bool = False) -> None:
        """Remember a signed set that was verified, or signed. If a newer one is already remembered, that stays.

        Args:
            root: Version of the root.
            timestamp, snapshot: The metadata.
            in_force: Whether this process has just signed it. An error would then hide that the change succeeded.

        Raises:
            SpecError: The folder that EDGEMILL_STATE names can't be written. For the folder in the key set, which may
                be read-only, and for a set that is in force, a warning says that this machine remembers nothing.
            RegistryError: The object store that EDGEMILL_STATE names can't be written.
        """
        if not self._folder:
            return
        value = {
            "registry": self._where,
            "root": root,
            "timestamp": timestamp.to_dict(),
            "snapshot": snapshot.to_dict(),
        }
        content = json.dumps(value, indent=1, sort_keys=True).encode()
        try:
            self._keep(Seen(root, timestamp, snapshot), content)
        except EdgemillError as error:
            if self._chosen and not in_force:
                raise
            _warn(self._where, self._folder, error.what)

    def _keep(self, seen: Seen, content: bytes) -> None:
        bound, remedy = "a folder that can be written", f"correct {STATE}"
        for _ in range(_MOST_ATTEMPTS):
            found = self._read()
            if found is not None and (found.content == content or self._parsed(found.content).age > seen.age):
                return
            try:
                bucket, key = self._place()
                if bucket.write_if(key, content, found.version if found else None):
                    return
            except (StorageError, FileNotFoundError) as error:
                what = error.what if isinstance(error, StorageError) else str(error)
                raise self._error("written", what, bound, remedy) from error
        what = "a file is in the place of its folder, or other machines change it all the time"
        raise self._error("written", what, bound, remedy)

    def _read(self) -> Content | None:
        try:
            bucket, key = self._place()
            return bucket.read_version(key)
        except StorageError as error:
            remedy = f"let this user read it, set {STATE} to another folder, or remove it after a check with a mirror"
            raise self._error("read", error.what, "a file that can be read", remedy) from error

    def _error(self, done: str, why: str, bound: str, remedy: str) -> EdgemillError:
        # An object store can be away for a while, so a push is staged.
        kind = RegistryUnreachableError if is_address(self._folder) else SpecError
        what = f"this machine's record of the registry cannot be {done}: {why}"
        return kind(what, where=f"{self._folder}/{self._name}", bound=bound, remedy=remedy)

    def _place(self) -> tuple[Bucket, str]:
        if is_address(self._folder):
            return bucket_of(self._folder), f"{below(split(self._folder)[2])}{self._name}"
        return FolderBucket(Path(self._folder)), self._name

    def _parsed(self, content: bytes) -> Seen:
        try:
            return _seen(json.loads(content))
        # The parser of JSON raises a RecursionError if the file is nested too deeply.
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise SpecError(
                f"this machine's record of the registry cannot be read: {error}",
                where=f"{self._folder}/{self._name}",
                bound="the file as Edgemill wrote it",
                remedy="verify the registry against a mirror; then remove the file",
            ) from error


def _seen(value: Any) -> Seen:
    """Parse the content. Raises a ValueError, KeyError, TypeError, AttributeError, or OverflowError if it differs."""
    timestamp: Metadata[Any] = Metadata.from_dict(value["timestamp"])
    snapshot: Metadata[Any] = Metadata.from_dict(value["snapshot"])
    if not isinstance(timestamp.signed, Timestamp) or not isinstance(snapshot.signed, Snapshot):
        raise TypeError("it has other metadata than a timestamp and a snapshot")
    return Seen(int(value["root"]), timestamp, snapshot)


@functools.cache
def _warn(where: str, folder: str, reason: str) -> None:
    """Log once that nothing is remembered: a command verifies a registry many times."""
    _LOG.warning(
        "%s: this machine can't remember the newest signed set, so it might not notice if an older one is put back:"
        " %s: %s. Remedy: set %s to a folder or an s3:// or gs:// address that can be written and that lasts",
        where,
        folder,
        reason,
        STATE,
    )

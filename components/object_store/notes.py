"""Small documents that a registry keeps next to its releases, under names that no other writer uses.

In a folder or a bucket, a note is a file below the root. For OCI registries, see `components.object_store.oci.notes`.
No write needs a condition, because each name is written by one process only.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from components.object_store.bucket import Bucket
from components.object_store.limits import LONGEST_DOCUMENT


class Notes(Protocol):
    """Notes of one kind in one registry. Every method raises a StorageError if the registry refuses or fails."""

    def names(self, after: str = "") -> list[str]:
        """Return the names of all notes, sorted. With `after`, earlier names may be left out."""

    def read(self, name: str) -> bytes | None:
        """Read a note, or return None if there isn't one."""

    def write(self, name: str, content: bytes) -> None:
        """Create or replace a note."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove notes. A missing note isn't an error."""

    def now(self, name: str) -> float:
        """Return when a note was written, by the registry's clock, in seconds since the epoch."""
        ...


class BucketNotes:
    """Notes in a folder of a bucket."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix

    def names(self, after: str = "") -> list[str]:
        """See `Notes`."""
        listed = self._bucket.objects(self._prefix, self._prefix + after if after else "")
        found = (one.key.removeprefix(self._prefix) for one in listed)
        return [name for name in found if name >= after and not name.startswith(".")]

    def read(self, name: str) -> bytes | None:
        """See `Notes`."""
        with suppress(FileNotFoundError):
            return self._bucket.read(self._prefix + name, LONGEST_DOCUMENT)
        return None

    def write(self, name: str, content: bytes) -> None:
        """See `Notes`."""
        self._bucket.write(self._prefix + name, content)

    def remove(self, names: Iterable[str]) -> None:
        """See `Notes`."""
        self._bucket.delete([self._prefix + name for name in names])

    def now(self, name: str) -> float:
        """See `Notes`."""
        return next(self._bucket.objects(self._prefix + name)).modified

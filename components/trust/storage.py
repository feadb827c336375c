"""Stores the signed metadata of a registry: files with conditional writes."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from components.core.errors import RegistryUnreachableError
from components.core.files import sha256_of_bytes, write_atomically
from components.object_store.bucket import Content, split
from components.object_store.folder import FolderBucket
from components.object_store.limits import LONGEST_DOCUMENT, read_bounded
from components.trust.names import FOLDER
from components.trust.store_errors import explained


class Store(Protocol):
    """The files below `_tuf` of one registry.

    Attributes:
        words: A description of their location in the registry.
    """

    words: str

    def read(self, name: str) -> Content | None:
        """Read a file and its version, or None if there isn't one."""

    def write_if(self, name: str, content: bytes, version: str | None) -> bool:
        """Create a file if it doesn't exist (`version` is None), or replace exactly the given version.

        Returns:
            Whether it was written.
        """
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Exclude other changes if the store has no conditional writes. Each change happens within this context."""
        ...


class ListedStore(Store, Protocol):
    """A store whose files can be listed and removed."""

    def names(self) -> dict[str, float | None]:
        """Return the names and times of all files, by the registry's clock; None as time if the registry has none."""

    def remove(self, names: list[str]) -> None:
        """Remove files. A missing file isn't an error."""


class Remembering:
    """A store that reads a file only once if it is never replaced, such as `7.targets.json`, which can be large.

    The metadata that lists such a file has its digest, so nothing changes if an attacker replaces the file in the
    meantime.
    """

    def __init__(self, store: Store) -> None:
        self._store, self.words = store, store.words
        self._read: dict[str, Content] = {}

    def read(self, name: str) -> Content | None:
        """See `Store`."""
        if name in self._read:
            return self._read[name]
        found = self._store.read(name)
        if found is not None and name.partition(".")[0].isdigit():
            self._read[name] = found
        return found

    def write_if(self, name: str, content: bytes, version: str | None) -> bool:
        """See `Store`."""
        return self._store.write_if(name, content, version)

    def exclusive(self) -> AbstractContextManager[None]:
        """See `Store`."""
        return self._store.exclusive()


class FolderStore:
    """A folder. A lock makes the check and the rename one step; the system releases it if the process is killed."""

    words = f"the folder `{FOLDER}`"

    def __init__(self, root: str | Path) -> None:
        self._folder = Path(root) / FOLDER

    def read(self, name: str) -> Content | None:
        """Read a file. Its version is its digest."""
        try:
            with explained(str(self._folder / name)):
                content = read_bounded(self._folder / name, LONGEST_DOCUMENT)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unusable(self._folder / name, error) from error
        return Content(content, sha256_of_bytes(content))

    def write_if(self, name: str, content: bytes, version: str | None) -> bool:
        """Replace a file if it hasn't changed since it was read."""
        try:
            with self._locked():
                found = self.read(name)
                if (found.version if found else None) != version:
                    return False
                write_atomically(self._folder / name, content)
                return True
        except OSError as error:
            raise _unusable(self._folder / name, error) from error

    def exclusive(self) -> AbstractContextManager[None]:
        """Do nothing: `write_if` is one step."""
        return nullcontext()

    def names(self) -> dict[str, float | None]:
        """See `ListedStore`."""
        with explained(str(self._folder)):
            listed = FolderBucket(self._folder).objects("")
            return {one.key: one.modified for one in listed if not one.key.rpartition("/")[2].startswith(".")}

    def remove(self, names: list[str]) -> None:
        """See `ListedStore`."""
        with explained(str(self._folder)), self._locked():
            FolderBucket(self._folder).delete(names)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class BucketStore:
    """A bucket, which checks conditions itself."""

    words = f"the folder `{FOLDER}`"

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")

    def read(self, name: str) -> Content | None:
        """Read an object."""
        from components.object_store.clients import bucket_of

        with explained(address := f"{self._root}/{FOLDER}/{name}"):
            return bucket_of(address).read_version(split(address)[2])

    def names(self) -> dict[str, float | None]:
        """See `ListedStore`."""
        from components.object_store.clients import bucket_of

        with explained(folder := f"{self._root}/{FOLDER}"):
            prefix = f"{split(folder)[2]}/"
            return {one.key.removeprefix(prefix): one.modified for one in bucket_of(folder).objects(prefix)}

    def remove(self, names: list[str]) -> None:
        """See `ListedStore`."""
        from components.object_store.clients import bucket_of

        with explained(folder := f"{self._root}/{FOLDER}"):
            bucket_of(folder).delete(f"{split(folder)[2]}/{name}" for name in names)

    def write_if(self, name: str, content: bytes, version: str | None) -> bool:
        """Write an object. If an answer was lost, an earlier attempt might have written it, which the content shows."""
        from components.object_store.clients import bucket_of

        with explained(address := f"{self._root}/{FOLDER}/{name}"):
            bucket, key = bucket_of(address), split(address)[2]
            if bucket.write_if(key, content, version):
                return True
            found = bucket.read_version(key)
            # Signatures are random, so no other writer produces these bytes.
            return found is not None and found.content == content

    def exclusive(self) -> AbstractContextManager[None]:
        """Do nothing: the bucket checks conditions."""
        return nullcontext()


def _unusable(path: Path, error: OSError) -> RegistryUnreachableError:
    return RegistryUnreachableError(
        f"the signed metadata of the registry cannot be used: {error.strerror or error}",
        where=str(path),
        remedy="fix the error in the message; then run again",
    )

"""The interface of an object store's bucket, and the choice of a client for an address."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.core.errors import SpecError, StorageError

SCHEMES = ("s3", "gs")
# Prefixes of the environment variables with endpoints and credentials.
_VARIABLES = ("AWS_", "GOOGLE_", "STORAGE_")
# Bucket names of Amazon and Google, and paths that TFX accepts, without user, port, or query.
ADDRESS_PATTERN = r"^(s3|gs)://[a-z0-9][a-z0-9._-]{1,253}[a-z0-9](/[A-Za-z0-9._-]+)*/?$"


@dataclass(frozen=True)
class Stored:
    """One object.

    Attributes:
        key: Name in the bucket.
        size: Size in bytes.
        modified: Time of the last change, in seconds since the epoch.
        version: Changes with the content: an ETag, or a generation and a digest.
    """

    key: str
    size: int
    modified: float
    version: str


class Bucket(Protocol):
    """One bucket. Every method raises a StorageError with the store's reason and without secrets."""

    def objects(self, prefix: str) -> Iterator[Stored]:
        """Yield all objects whose keys begin with a prefix, sorted by key."""

    def read(self, key: str) -> bytes:
        """Read an object's content.

        Raises:
            FileNotFoundError: There is no such object.
        """

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object atomically."""

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a file."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file to an object atomically."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects. A missing object isn't an error."""


class RefusedError(StorageError):
    """The object store responds, but the bucket doesn't exist or access is denied. The user must correct it."""


def is_address(path: str) -> bool:
    """Return whether a path is an object store address."""
    return path.partition("://")[0] in SCHEMES and "://" in path


def split(uri: str) -> tuple[str, str, str]:
    """Split an address into scheme, bucket, and key without leading and trailing slashes."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key.strip("/")


def below(key: str) -> str:
    """Return the prefix of all keys in a `folder`. Object stores have no folders, only slashes in keys."""
    return f"{key}/" if key else ""


def bucket_of(uri: str) -> Bucket:
    """Return the bucket of an address, with the credentials from the environment.

    Raises:
        SpecError: There is no client for this scheme.
    """
    scheme, name, _ = split(uri)
    # Part of the cache key, because a client doesn't notice later changes of the environment.
    asked = {variable: value for variable, value in os.environ.items() if variable.startswith(_VARIABLES)}
    return _client(scheme, name, tuple(sorted(asked.items())))


@functools.lru_cache(maxsize=16)
def _client(scheme: str, name: str, environment: tuple[tuple[str, str], ...]) -> Bucket:  # noqa: ARG001
    match scheme:
        case "s3":
            from pipelines.storage.s3 import S3Bucket

            return S3Bucket(name)
        case "gs":
            from pipelines.storage.gcs import GoogleBucket

            return GoogleBucket(name)
    raise SpecError(
        "there is no client for this kind of address",
        where=f"{scheme}://{name}",
        bound=" or ".join(f"{one}://" for one in SCHEMES),
        remedy="use such an address, or mount the store as a folder",
    )

"""The interface of an object store's bucket, the client for an address, and checks before the first node runs."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.core.errors import DataError, EdgemillError, SpecError, StorageError
from pipelines.file.spec import Examples

SCHEMES = ("s3", "gs")
# Prefixes of the environment variables with endpoints and credentials.
_VARIABLES = ("AWS_", "GOOGLE_", "STORAGE_")
# Bucket names of Amazon and Google, and paths that TFX accepts, without user, port, or query.
ADDRESS_PATTERN = r"^(s3|gs)://[a-z0-9][a-z0-9._-]{1,253}[a-z0-9](/[A-Za-z0-9._-]+)*/?$"
# Object that is written and removed before each run. TFX never uses this name.
_PROBE = ".edgemill-probe"


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
        """Read an object's content. Raises a FileNotFoundError if there is no such object."""

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
    """Return the bucket of an address, with credentials from the environment. Raises a SpecError for another scheme."""
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


def check_address(address: str, where: str) -> None:
    """Raise a SpecError if an address is invalid for a pipeline root.

    The message doesn't quote it, because it could contain a secret by mistake.
    """
    if not re.fullmatch(ADDRESS_PATTERN, address):
        raise SpecError(
            "this is no address of a pipeline root",
            where=where,
            bound="s3://BUCKET/PREFIX or gs://BUCKET/PREFIX with letters, digits, dots, hyphens, and underscores",
            remedy="correct it; credentials and endpoint come from the environment: docs/production.md",
        )


def check_writable(address: str) -> None:
    """Check that objects in a pipeline root can be listed, written, read, and removed.

    Raises:
        SpecError: The bucket doesn't exist, or one of these operations is denied.
        StorageError: The store can't be reached, or doesn't accept the credentials.
    """
    bucket, key = bucket_of(address), f"{below(split(address)[2])}{_PROBE}"
    try:
        next(bucket.objects(key), None)
        bucket.write(key, b"")
        bucket.read(key)
        bucket.delete([key])
    except RefusedError as error:
        raise SpecError(
            f"this pipeline root cannot be used: {error.what}",
            where=error.where,
            bound=error.bound,
            measured=error.measured,
            remedy=error.remedy,
        ) from None


def examples_errors(examples: Examples) -> Iterator[EdgemillError]:
    """Yield an error for each split without examples, if the examples are in an object store."""
    if not is_address(examples.path):
        return
    from pipelines.storage.filesystem import ObjectStoreFilesystem

    for split_name, pattern in examples.patterns.items():
        try:
            found = ObjectStoreFilesystem.glob(f"{examples.path.rstrip('/')}/{pattern}")
        except StorageError as error:
            yield error.placed("examples.path")
            return
        if not found:
            yield DataError(
                f"there are no examples for the split {split_name or 'all'!r}",
                where="examples.splits",
                bound=f"objects that match {pattern!r} in {examples.path}",
                measured="none",
                remedy="put the data there, or correct the pattern",
            )

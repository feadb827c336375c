"""A bucket of an object store: what we ask of one, and which client answers for an address."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.core.errors import SpecError, StorageError

SCHEMES = ("s3", "gs")
# Where clients look for endpoints and users.
_VARIABLES = ("AWS_", "GOOGLE_", "STORAGE_")
# As Amazon and Google name buckets and as TFX takes paths: no user, no port, no query.
ADDRESS_PATTERN = r"^(s3|gs)://[a-z0-9][a-z0-9._-]{1,253}[a-z0-9](/[A-Za-z0-9._-]+)*/?$"


@dataclass(frozen=True)
class Stored:
    """One object.

    Attributes:
        key: Its name in the bucket.
        size: In bytes.
        modified: Seconds since the epoch.
        version: What the store changes whenever the content does: an ETag, or a generation and a digest.
    """

    key: str
    size: int
    modified: float
    version: str


class Bucket(Protocol):
    """One bucket. Every member raises a StorageError that says what the store said, and never a secret."""

    def objects(self, prefix: str) -> Iterator[Stored]:
        """All objects whose keys begin so, in order of key."""

    def read(self, key: str) -> bytes:
        """An object's content.

        Raises:
            FileNotFoundError: There is no such object.
        """

    def write(self, key: str, content: bytes) -> None:
        """Make or replace an object; it is there whole, or as it was before."""

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a file."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file to an object; likewise whole."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""


class RefusedError(StorageError):
    """The object store answers, and the address is wrong: no such bucket, or no permission. The user's to correct."""


def is_address(path: str) -> bool:
    """Whether a path lies in an object store."""
    return path.partition("://")[0] in SCHEMES and "://" in path


def split(uri: str) -> tuple[str, str, str]:
    """Scheme, bucket and key of an address; the key without slashes at its ends."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    return scheme, bucket, key.strip("/")


def below(key: str) -> str:
    """The prefix of all keys in the `folder` that a key names: stores have none, only slashes in names."""
    return f"{key}/" if key else ""


def bucket_of(uri: str) -> Bucket:
    """The bucket of an address, with the credentials of this process' environment.

    Raises:
        SpecError: We have no client for it.
    """
    scheme, name, _ = split(uri)
    # Part of the key, since a client goes on as it was made.
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
        remedy="name such an address, or mount the store as a folder",
    )

"""The interface of an object store's bucket, and the addresses of its objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from components.core.errors import SpecError, StorageError

SCHEMES = ("s3", "gs")
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


@dataclass(frozen=True)
class Content:
    """The content of one object, and the version that `Bucket.write_if` compares: an ETag or a generation."""

    content: bytes
    version: str


class Bucket(Protocol):
    """One bucket. Every method raises a StorageError with the store's reason and without secrets."""

    def objects(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """Yield all objects whose keys begin with a prefix, sorted by key. Keys up to `after` may be left out."""

    def read(self, key: str, most: int | None = None) -> bytes:
        """Read an object's content.

        Raises:
            FileNotFoundError: There is no such object.
            TooLongError: It has more than `most` bytes. At most about a megabyte more is read.
        """

    def write(self, key: str, content: bytes) -> None:
        """Create or replace an object atomically."""

    def read_version(self, key: str) -> Content | None:
        """Read the content and the version of an object of a registry in one step; None if there is no such object.

        Raises:
            TooLongError: It has more bytes than `limits.largest` allows.
        """

    def write_if(self, key: str, content: bytes, version: str | None) -> bool:
        """Create an object if there is none (`version` is None), or replace exactly the given version.

        Returns:
            Whether it was written by this request. After a lost answer, an earlier attempt can have written it: compare
            the content.
        """
        ...

    def download(self, key: str, path: Path) -> None:
        """Copy an object to a file."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file to an object atomically."""

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects. A missing object isn't an error."""


class RefusedError(StorageError):
    """The object store responds, but the bucket doesn't exist or access is denied. The user must correct it."""


class DeniedError(RefusedError):
    """The object store denies access to these credentials."""


class NoCredentialsError(DeniedError):
    """The object store requires credentials, and there are none. So it is unknown whether anything is there."""


class FullError(StorageError):
    """The object store has no space left, or a quota is used up."""


# The answers of object stores and OCI registries without space, in lowercase. 28 and 122 are the system's error numbers
# for a full disk and for a quota, which Docker's registry passes on.
_INSUFFICIENT_STORAGE = 507
_FULL = re.compile(
    r"no space left|quota ?exceeded|exceeded.{0,20}quota|storage ?full|insufficient ?storage"
    r"|exceed the configured upper limit|\"err\": ?(28|122)\b"
)


def says_full(status: int, text: str) -> bool:
    """Return whether an answer says that there is no space left.

    Args:
        status: The HTTP status.
        text: The code and the message, or the answer's body.
    """
    return status == _INSUFFICIENT_STORAGE or _FULL.search(text.lower()) is not None


def full(what: str, place: str, found: object) -> FullError:
    """The error for a store, such as "the object store", that has no space left."""
    return FullError(
        f"{what} has no space left, or its quota is used up",
        where=place,
        measured=found,
        remedy="free up space in its storage or raise the quota, and run again: finished nodes come from the cache",
    )


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


def check_address(address: str, where: str) -> None:
    """Raise a SpecError if an address is invalid for a pipeline root.

    The message doesn't quote it, because it could contain a secret by mistake.
    """
    if not re.fullmatch(ADDRESS_PATTERN, address):
        raise SpecError(
            "this is not a pipeline root address",
            where=where,
            bound="s3://BUCKET/PREFIX or gs://BUCKET/PREFIX with letters, digits, dots, hyphens, and underscores",
            remedy="correct it; credentials and endpoint come from the environment: docs/production.md",
        )

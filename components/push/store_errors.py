"""Errors of object stores and OCI registries, as those of a registry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from components.core.errors import RegistryAwayError, StorageError
from components.object_store.bucket import DeniedError

_NEEDED = "permission to list, read, and write objects below the registry's root"


@contextmanager
def explained(where: str, needed: str = _NEEDED) -> Iterator[None]:
    """Convert errors of the object store into a RegistryAwayError that says the same."""
    try:
        yield
    except StorageError as error:
        raise RegistryAwayError(
            f"the registry cannot be used: {error.what}",
            where=error.where or where,
            bound=needed if isinstance(error, DeniedError) else error.bound,
            measured=error.measured,
            remedy=error.remedy,
        ) from None

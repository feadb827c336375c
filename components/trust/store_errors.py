"""Errors of object stores and OCI registries, as those of the signed metadata in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from components.core.errors import RegistryAwayError, RegistryError, StorageError


class OvertakenError(RegistryError):
    """Another process took over a lock that this one held for too long. Everything must be read again."""


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Convert a StorageError into a RegistryAwayError that says the same."""
    try:
        yield
    except StorageError as error:
        raise RegistryAwayError(
            f"the signed metadata of the registry cannot be used: {error.what}",
            where=error.where or where,
            bound=error.bound,
            measured=error.measured,
            remedy=error.remedy,
        ) from None

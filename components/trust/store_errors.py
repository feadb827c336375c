"""Converts errors of object stores and OCI registries to errors of the signed metadata in them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from components.core.errors import RegistryError
from components.object_store.explained import as_registry_errors


class OvertakenError(RegistryError):
    """Another process took over a lock that this one held for too long. Everything must be read again."""


def explained(where: str) -> AbstractContextManager[None]:
    """Convert a StorageError to a RegistryUnreachableError with the same information."""
    return as_registry_errors("the signed metadata of the registry", where)

"""Converts errors of object stores and OCI registries to registry errors."""

from __future__ import annotations

from contextlib import AbstractContextManager

from components.object_store.explained import as_registry_errors

_NEEDED = "permission to list, read, and write objects below the registry's root"


def explained(where: str, needed: str = _NEEDED) -> AbstractContextManager[None]:
    """Convert errors of the object store to a RegistryUnreachableError with the same information."""
    return as_registry_errors("the registry", where, needed)

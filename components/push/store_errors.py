"""Turns errors of object stores and OCI registries into those of a registry."""

from __future__ import annotations

from contextlib import AbstractContextManager

from components.object_store.explained import as_registry_errors

_NEEDED = "permission to list, read, and write objects below the registry's root"


def explained(where: str, needed: str = _NEEDED) -> AbstractContextManager[None]:
    """Convert errors of the object store into a RegistryUnreachableError that says the same."""
    return as_registry_errors("the registry", where, needed)

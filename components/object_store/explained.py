"""Converts errors of object stores and OCI registries to registry errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from components.core.errors import RegistryError, RegistryUnreachableError, StorageError
from components.object_store.bucket import DeniedError
from components.object_store.limits import DamagedError


@contextmanager
def as_registry_errors(what: str, where: str, needed: str | None = None) -> Iterator[None]:
    """Convert a StorageError to a RegistryUnreachableError with the same information.

    Content that is too long or damaged becomes a RegistryError, because it remains so until somebody restores it.

    Args:
        what: What can't be used, such as "the registry".
        where: Its location, if the error doesn't have one.
        needed: The permission that is needed, if access is denied.
    """
    try:
        yield
    except DamagedError as error:
        raise RegistryError(
            f"{what} is refused: {error.what}",
            where=error.where or where,
            bound=error.bound,
            measured=error.measured,
            remedy=error.remedy,
        ) from None
    except StorageError as error:
        raise RegistryUnreachableError(
            f"{what} cannot be used: {error.what}",
            where=error.where or where,
            bound=needed if needed and isinstance(error, DeniedError) else error.bound,
            measured=error.measured,
            remedy=error.remedy,
        ) from None

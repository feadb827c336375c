"""Checks of object stores before the first node runs."""

from __future__ import annotations

from collections.abc import Iterator

from components.core.errors import DataError, EdgemillError, SpecError, StorageError
from components.object_store.bucket import DeniedError, RefusedError, below, is_address, split
from components.object_store.clients import bucket_of
from pipelines.file.spec import Examples

# Object that is written and removed before each run. TFX never uses this name.
_PROBE = ".edgemill-probe"
_NEEDED = "permission to list, read, write, and delete objects below the pipeline root"


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
            bound=_NEEDED if isinstance(error, DeniedError) else error.bound,
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

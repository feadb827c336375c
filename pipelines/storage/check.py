"""What can be known of an object store before the first node runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from components.core.errors import DataError, EdgemillError, SpecError, StorageError
from pipelines.file.spec import DeclaredSplits, Examples
from pipelines.storage.bucket import ADDRESS_PATTERN, RefusedError, below, bucket_of, is_address, split

# Written and removed again before each run. The name keeps apart from all that TFX writes.
_PROBE = ".edgemill-probe"


def check_address(address: str, where: str) -> None:
    """See that an address can be that of a pipeline root.

    Raises:
        SpecError: It is none. The message does not repeat it: a secret may stand in it by mistake.
    """
    if not re.fullmatch(ADDRESS_PATTERN, address):
        raise SpecError(
            "this is no address of a pipeline root",
            where=where,
            bound="s3://BUCKET/PREFIX or gs://BUCKET/PREFIX, of letters, digits, dots, hyphens and underscores",
            remedy="correct it; credentials and endpoint come from the environment: docs/production.md",
        )


def check_writable(address: str) -> None:
    """See that a pipeline root can be listed, written, read, and removed from.

    Raises:
        SpecError: The bucket does not exist, or something of that is denied.
        StorageError: The store cannot be reached, or does not accept the credentials.
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
    """What is wrong with examples in an object store: that there are none for a split."""
    if not is_address(examples.path):
        return
    from pipelines.storage.filesystem import ObjectStoreFilesystem

    splits = examples.splits
    patterns = splits.patterns if isinstance(splits, DeclaredSplits) else {"all": splits.pattern}
    for split_name, pattern in patterns.items():
        try:
            found = ObjectStoreFilesystem.glob(f"{examples.path.rstrip('/')}/{pattern}")
        except StorageError as error:
            yield error.placed("examples.path")
            return
        if not found:
            yield DataError(
                f"there are no examples for the split {split_name!r}",
                where="examples.splits",
                bound=f"objects that match {pattern!r} in {examples.path}",
                measured="none",
                remedy="put the data there, or correct the pattern",
            )

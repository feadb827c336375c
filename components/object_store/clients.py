"""The client for an object store's address."""

from __future__ import annotations

import functools
import os
import warnings

from components.core.errors import SpecError
from components.object_store.bucket import SCHEMES, Bucket, split

# Prefixes of the environment variables with endpoints and credentials.
_VARIABLES = ("AWS_", "GOOGLE_", "STORAGE_")


def bucket_of(uri: str) -> Bucket:
    """Return the bucket of an address, with credentials from the environment. Raises a SpecError for other schemes."""
    scheme, name, _ = split(uri)
    # Part of the cache key, because a client doesn't notice later changes of the environment.
    asked = {variable: value for variable, value in os.environ.items() if variable.startswith(_VARIABLES)}
    return _client(scheme, name, tuple(sorted(asked.items())))


@functools.lru_cache(maxsize=16)
def _client(scheme: str, name: str, environment: tuple[tuple[str, str], ...]) -> Bucket:  # noqa: ARG001
    match scheme:
        case "s3":
            from components.object_store.s3 import S3Bucket

            return S3Bucket(name)
        case "gs":
            # Warnings about the versions of Python and gRPC, which the user doesn't choose.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                from components.object_store.gcs import GoogleBucket

            return GoogleBucket(name)
    raise SpecError(
        "there is no client for this kind of address",
        where=f"{scheme}://{name}",
        bound=" or ".join(f"{one}://" for one in SCHEMES),
        remedy="use such an address, or mount the store as a folder",
    )

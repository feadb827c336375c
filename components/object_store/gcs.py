"""Buckets of Google Cloud Storage, with Google's own client.

Credentials come from the environment: `GOOGLE_APPLICATION_CREDENTIALS`, `gcloud auth`, or the machine's account.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RetryError,
    ServerError,
    TooManyRequests,
    Unauthorized,
    from_http_response,
)
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from google.resumable_media import DataCorruption
from requests.exceptions import RequestException
from typing_extensions import Buffer

from components.core.errors import StorageError
from components.object_store.bucket import Content, DeniedError, RefusedError, Stored, full, says_full
from components.object_store.limits import LONGEST_DOCUMENT, BoundedBody, largest, listed, too_long
from components.upstream.google_storage import session_of

# An unreachable store is reported within a minute.
_TIMEOUT_SECONDS = (10.0, 60.0)
_RETRY = DEFAULT_RETRY.with_timeout(30.0)
_ATTEMPTS = 4
_EMULATOR = "STORAGE_EMULATOR_HOST"


class GoogleBucket:
    """A `components.object_store.bucket.Bucket`. Safe to use in threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        # An emulator needs no credentials.
        anonymous = {"credentials": AnonymousCredentials(), "project": "emulated"} if _EMULATOR in os.environ else {}
        with self._errors_explained(""):
            client = storage.Client(**anonymous)
        session_of(client).hooks["response"].append(self._bound)
        self._bucket = client.bucket(name)

    def objects(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """See `Bucket`."""
        with self._errors_explained(prefix, listing=True):
            found = self._bucket.client.list_blobs(
                self._bucket, prefix=prefix, start_offset=after or None, timeout=_TIMEOUT_SECONDS, retry=_RETRY
            )
            for blob in listed(found.pages, f"gs://{self._name}/{prefix}"):
                version = f"{blob.generation} {blob.md5_hash or blob.crc32c}"
                yield Stored(blob.name, blob.size, blob.updated.timestamp(), version)

    def read(self, key: str, most: int | None = None) -> bytes:
        """See `Bucket`."""
        with self._errors_explained(key):
            found = _Bounded(f"gs://{self._name}/{key}", most)
            self._bucket.blob(key).download_to_file(found, timeout=_TIMEOUT_SECONDS, retry=_RETRY)
            return found.getvalue()

    def write(self, key: str, content: bytes) -> None:
        """See `Bucket`."""
        with self._errors_explained(key):
            # Retries are safe, because no other process writes these objects.
            self._bucket.blob(key).upload_from_string(content, timeout=_TIMEOUT_SECONDS, retry=_RETRY)

    def read_version(self, key: str) -> Content | None:
        """See `Bucket`. The version is the generation."""
        for _ in range(_ATTEMPTS):
            try:
                with self._errors_explained(key):
                    blob = self._bucket.blob(key)
                    blob.reload(timeout=_TIMEOUT_SECONDS, retry=_RETRY)
                    generation = blob.generation
                    if blob.size > largest(key):
                        raise too_long(f"gs://{self._name}/{key}", largest(key), blob.size)
            except FileNotFoundError:
                return None
            with suppress(FileNotFoundError), self._errors_explained(key):
                try:
                    found = _Bounded(f"gs://{self._name}/{key}", largest(key))
                    blob.download_to_file(found, if_generation_match=generation, timeout=_TIMEOUT_SECONDS, retry=_RETRY)
                    return Content(found.getvalue(), str(generation))
                except PreconditionFailed:
                    continue  # Replaced between the two requests. If it was removed, it isn't found.
        raise StorageError(
            "this object keeps changing",
            where=f"gs://{self._name}/{key}",
            remedy="run again when fewer processes write to it",
        )

    def write_if(self, key: str, content: bytes, version: str | None) -> bool:
        """See `Bucket`."""
        try:
            with self._errors_explained(key):
                try:
                    self._bucket.blob(key).upload_from_string(
                        content, if_generation_match=int(version or 0), timeout=_TIMEOUT_SECONDS, retry=_RETRY
                    )
                except PreconditionFailed:
                    return False
        except FileNotFoundError:
            # If an object to replace is missing, the condition fails. So the bucket is missing.
            raise _no_bucket(f"gs://{self._name}/{key}") from None
        return True

    def download(self, key: str, path: Path) -> None:
        """See `Bucket`."""
        with self._errors_explained(key):
            self._bucket.blob(key).download_to_filename(str(path), timeout=_TIMEOUT_SECONDS, retry=_RETRY)

    def upload(self, path: Path, key: str) -> None:
        """See `Bucket`."""
        with self._errors_explained(key):
            self._bucket.blob(key).upload_from_filename(str(path), timeout=_TIMEOUT_SECONDS, retry=_RETRY)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Bucket`."""
        for key in keys:
            with self._errors_explained(key):
                try:
                    self._bucket.blob(key).delete(timeout=_TIMEOUT_SECONDS, retry=_RETRY)
                except NotFound:
                    continue

    def _bound(self, answer: requests.Response, **options: Any) -> None:
        """Bound the answers that the client reads as a whole: documents and errors. Downloads have their own bounds."""
        if not options.get("stream") or not answer.ok:
            place = f"gs://{self._name}"
            answer.raw = BoundedBody(answer.raw, lambda: too_long(place, LONGEST_DOCUMENT), LONGEST_DOCUMENT)

    @contextmanager
    def _errors_explained(self, key: str, *, listing: bool = False) -> Iterator[None]:
        # Without causes, because a client could put a secret into its exceptions.
        place = f"gs://{self._name}/{key}"
        try:
            with _last_error_of_retries(), _full_explained(place):
                yield
        except NotFound as error:
            # An empty listing isn't an error, so the bucket itself wasn't found.
            if not listing and "bucket does not exist" not in str(error.message):
                raise FileNotFoundError(f"there is no object {place}") from None
            raise _no_bucket(place) from None
        except Forbidden:
            raise DeniedError(
                "the object store denies access",
                where=place,
                measured="403",
                remedy="grant it to these credentials, or use different ones",
            ) from None
        except (Unauthorized, GoogleAuthError) as error:
            raise StorageError(
                "the object store does not accept the credentials, or there are none",
                where=place,
                measured=type(error).__name__,
                remedy="check GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
            ) from None
        except DataCorruption:
            raise StorageError(
                "the object store sent bytes that do not match its checksum",
                where=place,
                remedy="check the network, and run again; if the error persists, restore the object",
            ) from None
        except (RetryError, RequestException, ConnectionError) as error:
            raise StorageError(
                "the object store cannot be reached",
                where=place,
                measured=type(error).__name__,
                remedy="check the network and firewalls, and run again",
            ) from None
        except (ServerError, TooManyRequests) as error:
            raise StorageError(
                "the object store is currently not working",
                where=place,
                measured=error.code,
                remedy="run again later: finished nodes come from the cache",
            ) from None
        except GoogleAPICallError as error:
            raise StorageError(
                "the object store refuses the request",
                where=place,
                measured=error.code,
                remedy="look up this code in the store's documentation, and run again: finished nodes come from the "
                "cache",
            ) from None


class _Bounded(io.BytesIO):
    """A file in memory for a download, which ends at the first part that makes it too long."""

    def __init__(self, place: str, most: int | None) -> None:
        super().__init__()
        self._place, self._most = place, most

    def write(self, part: Buffer, /) -> int:
        written = super().write(part)
        if self._most is not None and self.tell() > self._most:
            raise too_long(self._place, self._most)
        return written


@contextmanager
def _last_error_of_retries() -> Iterator[None]:
    """Raise the error of the last attempt, as some versions of the client do themselves."""
    try:
        yield
    except RetryError as error:
        if (response := getattr(error.cause, "response", None)) is not None:
            raise from_http_response(response) from None
        raise


@contextmanager
def _full_explained(place: str) -> Iterator[None]:
    """Explain an answer of a store, such as an emulator or an on-premises store, that has no space left."""
    try:
        yield
    except GoogleAPICallError as error:
        if says_full(int(error.code or 0), str(error.message)):
            raise full("the object store", place, int(error.code or 0)) from None
        raise


def _no_bucket(place: str) -> RefusedError:
    return RefusedError("there is no such bucket", where=place, remedy="create it, or correct its name")

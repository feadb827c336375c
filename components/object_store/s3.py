"""Buckets of Amazon S3 and compatible object stores, with boto3.

Credentials, region, and endpoint come from boto3's own chain: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE,
AWS_ENDPOINT_URL_S3, `~/.aws`, and the machine's role. Edgemill never writes them to a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError, NoCredentialsError
from botocore.exceptions import ConnectionError as NoConnectionError

from components.core.errors import StorageError
from components.object_store.bucket import Content, DeniedError, RefusedError, Stored, full, says_full
from components.object_store.limits import (
    LONGEST_DOCUMENT,
    BoundedBody,
    TooLongError,
    joined,
    largest,
    listed,
    too_long,
)
from components.upstream.botocore import replace_bodies

_ATTEMPTS = 4
# An unreachable store is reported within a minute: refused connections at once, others after their attempts.
_CONFIG = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": _ATTEMPTS})
_MOST_DELETED = 1000
_PART_BYTES = 1 << 20
_MISSING = {"NoSuchKey", "404", "NotFound"}
_NO_PERMISSION = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"}
_NO_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "AuthFailure",
    "UnrecognizedClientException",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_OTHER_REGION = {
    "301",
    "PermanentRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "IncorrectEndpoint",
}
# There is a different version, or another request is about to write one.
_CONFLICTS = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
_TOO_MANY, _SERVER_ERROR = 429, 500


class S3Bucket:
    """A `components.object_store.bucket.Bucket`. Safe to use in threads."""

    def __init__(self, name: str) -> None:
        self._name = name
        with self._errors_explained(""):
            # Not the default session: threads must not share a session while it creates clients.
            self._client = boto3.session.Session().client("s3", config=_CONFIG)
        replace_bodies(self._client, self._bounded)

    def objects(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """See `Bucket`."""
        asked = {"Prefix": prefix, **({"StartAfter": after} if after else {})}
        with self._errors_explained(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, **asked)
            for one in listed((page.get("Contents", ()) for page in pages), self._place(prefix)):
                yield Stored(one["Key"], one["Size"], one["LastModified"].timestamp(), one["ETag"].strip('"'))

    def read(self, key: str, most: int | None = None) -> bytes:
        """See `Bucket`."""
        return self._get(key, most).content

    def read_version(self, key: str) -> Content | None:
        """See `Bucket`. The version is the ETag."""
        try:
            return self._get(key, largest(key))
        except FileNotFoundError:
            return None

    def write_if(self, key: str, content: bytes, version: str | None) -> bool:
        """See `Bucket`. Amazon S3 added these conditions in 2024. A store that ignores them always writes."""
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        try:
            with self._errors_explained(key):
                try:
                    self._client.put_object(Bucket=self._name, Key=key, Body=content, **condition)
                except ClientError as error:
                    if error.response.get("Error", {}).get("Code") in _CONFLICTS:
                        return False
                    raise
        except FileNotFoundError:
            return False  # The version to replace was removed.
        return True

    def write(self, key: str, content: bytes) -> None:
        """See `Bucket`."""
        with self._errors_explained(key):
            self._client.put_object(Bucket=self._name, Key=key, Body=content)

    def download(self, key: str, path: Path) -> None:
        """See `Bucket`."""
        with self._errors_explained(key):
            self._client.download_file(self._name, key, str(path))

    def upload(self, path: Path, key: str) -> None:
        """See `Bucket`."""
        with self._errors_explained(key):
            self._client.upload_file(str(path), self._name, key)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Bucket`."""
        waiting = list(keys)
        for start in range(0, len(waiting), _MOST_DELETED):
            objects = [{"Key": key} for key in waiting[start : start + _MOST_DELETED]]
            with self._errors_explained(waiting[start]):
                answer = self._client.delete_objects(Bucket=self._name, Delete={"Objects": objects, "Quiet": True})
            for error in answer.get("Errors", ()):
                raise self._refused(error["Code"], error["Key"])

    def _bounded(self, body: Any) -> BoundedBody:
        return BoundedBody(body, lambda: too_long(self._place(""), LONGEST_DOCUMENT), LONGEST_DOCUMENT)

    def _get(self, key: str, most: int | None) -> Content:
        with self._errors_explained(key):
            attempts = 0
            while True:
                answer = self._client.get_object(Bucket=self._name, Key=key)
                body = answer["Body"]
                try:
                    if most is not None and answer.get("ContentLength", 0) > most:
                        raise too_long(self._place(key), most, answer["ContentLength"])
                    # The client repeats requests, but not the reading of an answer that breaks off.
                    return Content(joined(body.iter_chunks(_PART_BYTES), self._place(key), most), answer["ETag"])
                except TooLongError:
                    body.close()  # The rest is never read.
                    raise
                except (HTTPClientError, IncompleteReadError):
                    attempts += 1
                    if attempts == _ATTEMPTS:
                        raise

    @contextmanager
    def _errors_explained(self, key: str) -> Iterator[None]:
        # Without causes, because a client could put a secret into its exceptions.
        try:
            yield
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            found = error.response.get("Error", {})
            if says_full(status, f"{found.get('Code')} {found.get('Message')}"):
                raise full("the object store", self._place(key), found.get("Code") or status) from None
            raise self._refused(found.get("Code", ""), key, status) from None
        except S3UploadFailedError as error:
            cause = error.__context__
            code = cause.response.get("Error", {}).get("Code", "") if isinstance(cause, ClientError) else ""
            raise self._refused(code, key) from None
        except NoCredentialsError:
            raise StorageError(
                "there are no credentials for the object store",
                where=self._place(key),
                remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run with a role",
            ) from None
        except (NoConnectionError, HTTPClientError) as error:
            raise StorageError(
                "the object store cannot be reached",
                where=self._place(key),
                measured=f"{type(error).__name__} from {self._client.meta.endpoint_url}",
                remedy="check that it is running, and check AWS_ENDPOINT_URL_S3 and firewalls; then run again",
            ) from None
        except BotoCoreError as error:
            raise StorageError(
                "the client of the object store cannot be used",
                where=self._place(key),
                measured=type(error).__name__,
                remedy="check the AWS_ variables and ~/.aws/config: region, profile, and endpoint",
            ) from None

    def _place(self, key: str) -> str:
        return f"s3://{self._name}/{key}"

    def _refused(self, code: str, key: str, status: int = 0) -> Exception:
        place = self._place(key)
        if code in _MISSING:
            return FileNotFoundError(f"there is no object {place}")
        if code == "NoSuchBucket":
            return RefusedError(
                "there is no such bucket", where=place, measured=code, remedy="create it, or correct its name"
            )
        if code in _NO_PERMISSION:
            return DeniedError(
                "the object store denies access",
                where=place,
                measured=code,
                remedy="grant it to these credentials, or use different ones",
            )
        if code in _NO_CREDENTIALS:
            return StorageError(
                "the object store does not accept the credentials",
                where=place,
                measured=code,
                remedy="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN, or the profile",
            )
        if code in _EXPIRED:
            return StorageError(
                "the credentials of the object store have expired",
                where=place,
                measured=code,
                remedy="sign in again or renew AWS_SESSION_TOKEN, and run again",
            )
        if code in _OTHER_REGION:
            return RefusedError(
                "the bucket is in another region, or at another endpoint",
                where=place,
                bound="the region of the bucket",
                measured=f"{code} from region {self._client.meta.region_name}",
                remedy="set AWS_DEFAULT_REGION to the bucket's region, and AWS_ENDPOINT_URL_S3, if you use it, to its "
                "endpoint",
            )
        if status == _TOO_MANY or (status >= _SERVER_ERROR and code != "NotImplemented"):
            return StorageError(
                "the object store is currently not working",
                where=place,
                measured=f"{code}, in {_ATTEMPTS} attempts",
                remedy="run again later: finished nodes come from the cache",
            )
        return StorageError(
            "the object store refuses the request",
            where=place,
            measured=code or "no reason given",
            remedy="look up this code in the store's documentation, and run again: finished nodes come from the cache",
        )

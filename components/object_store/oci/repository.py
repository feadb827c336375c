"""One repository of an OCI registry: blobs by digest, manifests by digest or tag, and tags.

The distribution API has no conditional writes: the last writer of a tag wins. `tag` therefore sends the conditions of
HTTP, which some registries check, and reads the tag before a retry and after the write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urljoin

import requests

from components.core.errors import StorageError
from components.core.files import sha256_of_bytes
from components.object_store.bucket import DeniedError, FullError, NoCredentialsError, RefusedError
from components.object_store.limits import LONGEST_DOCUMENT, listed
from components.object_store.oci.transport import ATTEMPTS, Transport

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
# Larger blobs are sent in chunks, so that a lost connection repeats only the last one.
CHUNK_BYTES = 4 << 20
_PAGE = 1000
_OK, _CREATED, _ACCEPTED, _NO_CONTENT, _NOT_FOUND, _CONFLICT, _FAILED_CONDITION = 200, 201, 202, 204, 404, 409, 412
_NOT_ALLOWED, _RANGE_REFUSED = 405, 416


def digest_of(content: bytes) -> str:
    """Return the digest of a blob or a manifest."""
    return f"sha256:{sha256_of_bytes(content)}"


def repositories(host: str, prefix: str) -> tuple[str, ...]:
    """Return the names of all repositories of a registry below a prefix, sorted.

    Raises:
        DeniedError: These credentials may not read its catalog.
        RefusedError: The registry has no catalog.
    """
    transport = Transport(host, prefix)
    found = set(listed(_pages_of_repositories(transport), transport.place))
    return tuple(sorted(name for name in found if name.startswith(f"{prefix}/")))


def _pages_of_repositories(transport: Transport) -> Iterator[list[str]]:
    path = f"/v2/_catalog?n={_PAGE}"
    while path:
        try:
            answer = transport.send("GET", path, expected=(_OK,))
        except NoCredentialsError:
            raise
        except DeniedError as error:
            remedy = f"{error.remedy}; or specify the places with --place"
            raise DeniedError(error.what, where=error.where, measured=error.measured, remedy=remedy) from None
        except (RefusedError, FileNotFoundError) as error:
            raise RefusedError(
                "the registry does not list its repositories",
                where=transport.place,
                measured=getattr(error, "measured", None) or _NOT_FOUND,
                remedy="allow it to answer /v2/_catalog, or specify the places with --place",
            ) from None
        yield _names_in(answer, "repositories", transport.place)
        path = _next(answer)


class Repository:
    """A repository. Every method raises a StorageError with the registry's reason and without secrets."""

    def __init__(self, host: str, name: str) -> None:
        self._transport = Transport(host, name)

    def manifest(self, reference: str) -> bytes | None:
        """Return the manifest that a tag or a digest names, or None if there isn't one."""
        answer = self._transport.send(
            "GET", f"manifests/{reference}", expected=(_OK, _NOT_FOUND), headers={"Accept": MANIFEST_TYPE}
        )
        return None if answer.status_code == _NOT_FOUND else answer.content

    @property
    def place(self) -> str:
        """The name of the repository in messages."""
        return self._transport.place

    def remove(self, digest: str) -> None:
        """Remove a manifest by its digest, and with it all tags that name it. A missing manifest isn't an error."""
        answer = self._transport.send(
            "DELETE", f"manifests/{digest}", expected=(_OK, _ACCEPTED, _NO_CONTENT, _NOT_FOUND, _NOT_ALLOWED)
        )
        if answer.status_code == _NOT_ALLOWED:
            raise RefusedError(
                "the registry does not allow removals",
                where=self._transport.place,
                measured=answer.status_code,
                remedy="allow it in the registry's configuration (Docker's registry: storage.delete.enabled)",
            )

    def blob(self, digest: str, most: int = LONGEST_DOCUMENT) -> bytes:
        """Return a blob, which the caller verifies.

        Raises:
            FileNotFoundError: There is none.
            TooLongError: It has more than `most` bytes.
        """
        return self._transport.send("GET", f"blobs/{digest}", expected=(_OK,), most=most).content

    def tags(self) -> tuple[str, ...]:
        """Return all tags, sorted; none if there is no such repository."""
        return tuple(sorted(set(listed(self._pages_of_tags(), self._transport.place))))

    def _pages_of_tags(self) -> Iterator[list[str]]:
        path = f"tags/list?n={_PAGE}"
        while path:
            answer = self._transport.send("GET", path, expected=(_OK, _NOT_FOUND))
            if answer.status_code == _NOT_FOUND:
                return
            yield _names_in(answer, "tags", self._transport.place)
            path = _next(answer)

    def check_writable(self) -> None:
        """Start an upload and cancel it, which needs the permission to push and leaves nothing.

        A registry that can't cancel an upload discards it eventually.
        """
        answer = self._transport.send("POST", "blobs/uploads/", expected=(_ACCEPTED,))
        with suppress(StorageError, FileNotFoundError):
            self._transport.send("DELETE", _location(answer), expected=(_OK, _ACCEPTED, _NO_CONTENT), attempts=1)

    def upload(self, content: bytes) -> str:
        """Upload a blob unless it exists, and return its digest. An interrupted upload resumes where it stopped."""
        digest = digest_of(content)
        path = f"blobs/{digest}"
        if self._transport.send("HEAD", path, expected=(_OK, _NOT_FOUND)).status_code == _OK:
            return digest
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._upload_once(content, digest)
            except FileNotFoundError:
                # The registry has discarded the upload, or completed it although its answer was lost.
                if self._transport.send("HEAD", path, expected=(_OK, _NOT_FOUND)).status_code == _OK:
                    break
                if attempt == ATTEMPTS:
                    raise StorageError(
                        "the registry loses uploads",
                        where=self._transport.place,
                        bound="an upload that exists until it is complete",
                        measured=f"{ATTEMPTS} lost uploads",
                        remedy="check its storage and its time limit for uploads, and run again",
                    ) from None
            else:
                break
        return digest

    def _upload_once(self, content: bytes, digest: str) -> None:
        send = self._transport.send
        location = _location(send("POST", "blobs/uploads/", expected=(_ACCEPTED,)))
        start = 0
        failures = 0
        while len(content) - start > CHUNK_BYTES:
            chunk = content[start : start + CHUNK_BYTES]
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{start}-{start + len(chunk) - 1}",
            }
            try:
                answer = send(
                    "PATCH", location, expected=(_ACCEPTED, _RANGE_REFUSED), attempts=1, data=chunk, headers=headers
                )
                arrived = answer.status_code == _ACCEPTED
            except FullError:
                raise
            except StorageError:
                arrived = False
            if not arrived:
                failures += 1
                if failures == ATTEMPTS:
                    raise self._broken()
                answer = send("GET", location, expected=(_NO_CONTENT,))
            location, start = _location(answer), _received(answer)
        headers = {"Content-Type": "application/octet-stream"}
        rest = content[start:]
        joint = "&" if "?" in location else "?"
        send("PUT", f"{location}{joint}digest={digest}", expected=(_CREATED,), data=rest, headers=headers)

    def _broken(self) -> StorageError:
        return StorageError(
            "the upload to the registry keeps getting interrupted",
            where=self._transport.place,
            measured=f"{ATTEMPTS} broken connections",
            remedy="check the connection, and run again: finished nodes come from the cache",
        )

    def tag(self, reference: str, manifest: bytes, before: bytes | None) -> bool:
        """Point a tag to a manifest.

        Args:
            reference: The tag.
            manifest: The manifest, whose blobs exist.
            before: The manifest that the tag named when it was read; None if there was no tag.

        Returns:
            False if the tag has a different content than `before`, and the registry checks conditions. Also True if the
            answer is lost and a different manifest is there afterward: then this write came first or never happened.

        Raises:
            StorageError: The registry refuses or fails, or the tag has not changed after several writes.
        """
        condition = {"If-None-Match": "*"} if before is None else {"If-Match": f'"{digest_of(before)}"'}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self._transport.send(
                    "PUT",
                    f"manifests/{reference}",
                    expected=(_CREATED, _FAILED_CONDITION, _CONFLICT),
                    attempts=1,
                    data=manifest,
                    headers={"Content-Type": MANIFEST_TYPE, **condition},
                )
            except (RefusedError, FullError):
                raise
            except StorageError:
                if self.manifest(reference) != before:
                    return True
                if attempt == ATTEMPTS:
                    raise
                continue
            if answer.status_code != _CREATED:
                return False
            if manifest == before or self.manifest(reference) != before:
                return True
            # Another process can have written the earlier manifest again, so this write is repeated.
            if attempt == ATTEMPTS:
                raise StorageError(
                    "the registry accepted a tag, but the tag still points to the previous artifact",
                    where=f"{self._transport.place}:{reference}",
                    remedy="don't push through a cache or a read-only mirror; run again",
                )
        raise AssertionError(ATTEMPTS)


def _next(answer: requests.Response) -> str:
    """Return the address of the next page of a list; empty after the last one."""
    following = answer.links.get("next", {}).get("url", "")
    return urljoin(answer.url, following) if following else ""


def _names_in(answer: requests.Response, what: str, place: str) -> list[str]:
    try:
        found = answer.json().get(what) or []
        return [str(one) for one in found]
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise RefusedError(
            f"the registry answers with something other than a list of {what}",
            where=place,
            bound="JSON of the distribution API",
            measured=f"{len(answer.content):,} bytes of {answer.headers.get('Content-Type', 'no type')[:40]}",
            remedy="check its address: a proxy or a web page may answer instead",
        ) from None


def _location(answer: requests.Response) -> str:
    return urljoin(answer.url, answer.headers.get("Location", answer.url))


def _received(answer: requests.Response) -> int:
    """Return how many bytes of an upload the registry has."""
    found = re.fullmatch(r"(?:bytes=)?0-(\d+)", answer.headers.get("Range", ""))
    last = int(found[1]) if found else 0
    # A registry without any bytes reports 0-0. So does one with a single byte, but no chunk is that short.
    return last + 1 if last else 0

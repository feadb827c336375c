"""The signed metadata of a registry in an OCI registry: one tagged artifact for each file.

The distribution API has no conditional writes. So a change holds a lock: a tag that names its owner. To get the lock, a
process writes the tag, waits, and reads it again. The process owns the lock if the tag still names it. That is safe if
a write that takes longer than other processes wait doesn't count. The writer measures this. A lock whose owner was
killed is taken over when it hasn't changed for a while. The owner of a change of many files writes the lock again long
before, or stops.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.object_store.bucket import Content, DeniedError, NoCredentialsError
from components.object_store.limits import DamagedError
from components.object_store.oci.hosts import split_address
from components.object_store.oci.repository import MANIFEST_TYPE, Repository, digest_of
from components.trust.names import OCI_REPOSITORY, tag_of
from components.trust.store_errors import OvertakenError, explained

ARTIFACT_TYPE = "application/vnd.edgemill.signed-metadata.v1"
_METADATA_TYPE = "application/vnd.edgemill.signed-metadata.v1+json"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_TITLE = "org.opencontainers.image.title"

_LOCK = "lock"
_OWNER, _RENEWED = "io.edgemill.owner", "io.edgemill.renewed"
_FREE = "nobody"
# A write of the lock that takes longer doesn't count. Every process waits for longer before it reads the lock again.
WRITE_SECONDS = 2.0
WAIT_SECONDS = 2.5
# An owner that hasn't renewed the lock changes nothing after this time, and others take it over after twice as long.
LEASE_SECONDS = 60.0
_PAUSE_SECONDS = 0.3
_MOST_ATTEMPTS = 200


class OciStore:
    """The repository with the metadata of one registry."""

    words = f"the repository `{OCI_REPOSITORY}`"

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        host, name = split_address(f"{self._root}/{OCI_REPOSITORY}")
        self._repository = Repository(host, name)
        self._owner, self._since = "", 0.0

    def read(self, name: str) -> Content | None:
        """Read a file. Its version is its digest."""
        with explained(self._place(name)):
            try:
                artifact = self._repository.manifest(tag_of(name))
            except NoCredentialsError:
                raise
            except DeniedError:
                return None  # Some registries answer in this way if there is no such repository.
            return None if artifact is None else self._content(name, artifact)

    def write_if(self, name: str, content: bytes, version: str | None) -> bool:
        """Write a file if it hasn't changed since it was read. Raises an OvertakenError if the lock was taken over."""
        with explained(self._place(name)):
            before = self._repository.manifest(tag_of(name))
            found = None if before is None else self._content(name, before).version
            if found != version:
                return before is not None and found == sha256_of_bytes(content)
            artifact = self._artifact({_TITLE: name}, content, {_TITLE: name})
            self._renew()
            if not self._is_owner():
                raise self._overtaken()
            if not self._repository.tag(tag_of(name), artifact, before):
                return False
            if self._repository.manifest(tag_of(name)) != artifact or not self._is_owner():
                raise self._overtaken()
            return True

    def names(self) -> dict[str, float | None]:
        """See `ListedStore`. An OCI registry has no times."""
        with explained(self._place("")):
            return {self._name(tag): None for tag in self._repository.tags() if tag != _LOCK}

    def remove(self, names: list[str]) -> None:
        """See `ListedStore`. Call it within `exclusive`."""
        for name in names:
            with explained(self._place(name)):
                self._renew()
                if not self._is_owner():
                    raise self._overtaken()
                if (artifact := self._repository.manifest(tag_of(name))) is not None:
                    self._repository.remove(digest_of(artifact))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock, which every write needs.

        Raises:
            RegistryError: Other processes keep the lock, or the registry is too slow.
        """
        with explained(self._place(_LOCK)):
            self._acquire()
        try:
            yield
        finally:
            with explained(self._place(_LOCK)):
                if self._is_owner():
                    self._release()
                self._owner = ""

    def _acquire(self) -> None:
        owner = secrets.token_hex(16)
        # Done before the time is measured, so that a slow registry has enough time.
        claim = self._artifact({_OWNER: owner})
        seen, since = b"", time.monotonic()
        # Wait at least until the lock of a killed process can be taken over.
        attempts, end = 0, since + 3 * LEASE_SECONDS
        while attempts < _MOST_ATTEMPTS or time.monotonic() < end:
            attempts, began = attempts + 1, time.monotonic()
            found = self._repository.manifest(_LOCK)
            if found is not None and found != seen:
                seen, since = found, began
            if _owner_in(found) == _FREE or began - since > 2 * LEASE_SECONDS:
                self._write_lock(claim, found)
                in_time = time.monotonic() - began < WRITE_SECONDS
                if in_time:
                    time.sleep(WAIT_SECONDS)
                if _owner_in(self._repository.manifest(_LOCK)) == owner:
                    if in_time:
                        self._owner, self._since = owner, began
                        return
                    self._release()
            time.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))
        raise RegistryError(
            "the signed metadata cannot be locked: other processes keep changing it, or the registry is slow",
            where=self._place(_LOCK),
            bound=f"a write in {WRITE_SECONDS:g} s",
            measured=f"none in {attempts} attempts",
            remedy="run again when fewer pipelines push, or from a machine that is closer to the registry",
        )

    def _is_owner(self) -> bool:
        in_time = time.monotonic() - self._since < LEASE_SECONDS
        return bool(self._owner) and in_time and _owner_in(self._repository.manifest(_LOCK)) == self._owner

    def _renew(self) -> None:
        """Keep the lock for longer once half of the time is over. A slow write changes nothing, as in `_acquire`."""
        if not self._owner or time.monotonic() - self._since < LEASE_SECONDS / 2:
            return
        claim = self._artifact({_OWNER: self._owner, _RENEWED: secrets.token_hex(8)})
        began, found = time.monotonic(), self._repository.manifest(_LOCK)
        if _owner_in(found) == self._owner and began - self._since < LEASE_SECONDS:
            self._write_lock(claim, found)
            if time.monotonic() - began < WRITE_SECONDS:
                self._since = began

    def _overtaken(self) -> OvertakenError:
        return OvertakenError(
            "another process has taken over the lock of the signed metadata",
            where=self._place(_LOCK),
            bound=f"a change within {LEASE_SECONDS:g} s",
            measured=f"{time.monotonic() - self._since:.0f} s",
            remedy="run again",
        )

    def _release(self) -> None:
        self._write_lock(self._artifact({_OWNER: _FREE}), self._repository.manifest(_LOCK))

    def _write_lock(self, claim: bytes, before: bytes | None) -> None:
        self._repository.tag(_LOCK, claim, before)

    def _artifact(
        self, annotations: dict[str, str], content: bytes = _EMPTY, named: dict[str, str] | None = None
    ) -> bytes:
        """Upload the blobs of an artifact, and return its manifest. `named` are annotations of its only layer."""
        kind = _EMPTY_TYPE if content == _EMPTY else _METADATA_TYPE
        layer = self._descriptor(kind, content) | ({"annotations": named} if named else {})
        described = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": self._descriptor(_EMPTY_TYPE, _EMPTY),
            "layers": [layer],
            "annotations": annotations,
        }
        return json.dumps(described, sort_keys=True, separators=(",", ":")).encode()

    def _descriptor(self, kind: str, content: bytes) -> dict[str, Any]:
        return {"mediaType": kind, "digest": self._repository.upload(content), "size": len(content)}

    def _content(self, name: str, artifact: bytes) -> Content:
        try:
            (layer,) = json.loads(artifact)["layers"]
            content = self._repository.blob(str(layer["digest"]))
        except (ValueError, RecursionError, KeyError, TypeError, FileNotFoundError) as error:
            raise DamagedError(
                "this is not an artifact with signed metadata, or its content is missing",
                where=f"{self._place(name)}: {name}",
                measured=type(error).__name__,
                remedy="find out who changed the repository; restore it from a copy of the registry",
            ) from error
        if digest_of(content) != layer["digest"]:
            raise DamagedError(
                "the content of this artifact does not match its digest",
                where=f"{self._place(name)}: {name}",
                bound=layer["digest"],
                measured=digest_of(content),
                remedy="restore the registry's storage",
            )
        return Content(content, sha256_of_bytes(content))

    def _name(self, tag: str) -> str:
        """The name of the file that a tag is for."""
        if not tag.startswith("name-"):
            return tag
        try:
            return str(json.loads(self._repository.manifest(tag) or b"")["annotations"][_TITLE])
        except (ValueError, RecursionError, KeyError, TypeError):
            return tag

    def _place(self, name: str) -> str:
        return f"{self._root}/{OCI_REPOSITORY}:{tag_of(name)}"


def _owner_in(lock: bytes | None) -> str:
    """The owner that a lock names; nobody if there is no lock yet."""
    if lock is None:
        return _FREE
    try:
        return str(json.loads(lock)["annotations"][_OWNER])
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""

"""Notes in an OCI registry: a note is the tag of an empty artifact, and its content is an annotation."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from components.core.errors import StorageError
from components.object_store.bucket import DeniedError, NoCredentialsError
from components.object_store.oci.repository import MANIFEST_TYPE, Repository, digest_of

_ARTIFACT_TYPE = "application/vnd.edgemill.note.v1+json"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_ANNOTATION = "io.edgemill.note"


class OciNotes:
    """See `components.object_store.notes.Notes`. OCI registries don't report times, so this machine's clock is used."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def names(self, after: str = "") -> list[str]:
        """See `Notes`."""
        try:
            return [name for name in self._repository.tags() if name >= after]
        except NoCredentialsError:
            raise
        except DeniedError:
            return []  # Some registries answer in this way if there is no such repository.

    def read(self, name: str) -> bytes | None:
        """See `Notes`."""
        content = self._repository.manifest(name)
        try:
            return None if content is None else str(json.loads(content)["annotations"][_ANNOTATION]).encode()
        except (ValueError, RecursionError, KeyError, TypeError):
            return b""

    def write(self, name: str, content: bytes) -> None:
        """See `Notes`."""
        empty = {"mediaType": _EMPTY_TYPE, "digest": self._repository.upload(_EMPTY), "size": len(_EMPTY)}
        note = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": _ARTIFACT_TYPE,
            "config": empty,
            "layers": [empty],
            # The name makes the artifacts of two notes differ, so that each can be removed by its digest.
            "annotations": {_ANNOTATION: content.decode(), f"{_ANNOTATION}.name": name},
        }
        before = self._repository.manifest(name)
        if not self._repository.tag(name, json.dumps(note, sort_keys=True).encode(), before):
            raise StorageError(
                "another process has written this note",
                where=f"{self._repository.place}:{name}",
                remedy="run again",
            )

    def remove(self, names: Iterable[str]) -> None:
        """See `Notes`."""
        for name in names:
            if (content := self._repository.manifest(name)) is not None:
                self._repository.remove(digest_of(content))

    def now(self, name: str) -> float:  # noqa: ARG002
        """See `Notes`."""
        return time.time()

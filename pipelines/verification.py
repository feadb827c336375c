"""Artifacts as ML Metadata knows them, compared with what lies in their folders or below their addresses."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from components.errors import TamperedError
from components.manifest import MANIFEST_NAME
from components.verified import RECORDED, Verified, with_manifest
from pipelines.storage.bucket import is_address
from pipelines.storage.staging import Staging, read


def stored_file(artifact: Any, name: str) -> bytes | None:
    """The content of one file of an artifact of ours, compared; None if the artifact does not have it, or is removed.

    Args:
        artifact: As ML Metadata returns it.
        name: Path inside it.

    Raises:
        TamperedError: It is not what was written.
        StorageError: The store cannot be read.
    """
    content = read(artifact.uri, name)
    told = read(artifact.uri, MANIFEST_NAME)
    if content is None and told is None:
        return None
    one = with_manifest(artifact.uri, told or b"", _recorded(artifact))
    return None if content is None and name not in one.manifest.files else one.compared(name, content)


def is_ours(artifact: Any) -> bool:
    """Whether an artifact was written with a manifest, and is still to be there."""
    return bool(_recorded(artifact)["manifest_sha256"]) and artifact.state != artifact.DELETED


def breaks(artifact: Any) -> TamperedError | None:
    """What is wrong with an artifact of ours, all its files compared; None if nothing is.

    Raises:
        StorageError: The store cannot be read.
    """
    with tempfile.TemporaryDirectory() as copies:
        staging = Staging(Path(copies))
        try:
            one = with_manifest(artifact.uri, read(artifact.uri, MANIFEST_NAME) or b"", _recorded(artifact))
            if is_address(artifact.uri):
                staging.fetch(artifact.uri)
            Verified(staging.local(artifact.uri), one.manifest).check()
        except TamperedError as error:
            return error
    return None


def _recorded(artifact: Any) -> dict[str, str | None]:
    return {name: artifact.custom_properties[name].string_value for name in RECORDED}

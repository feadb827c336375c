"""Artifacts of stock components, which have no manifest: they are checked against a digest in ML Metadata alone.

For some artifact types, stock components treat every file in the folder as content, so a manifest can't be added there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.core.errors import TamperedError
from components.core.files import sha256_of_bytes
from components.core.remembered_digests import content_digest

# The custom property with the digest: `components.core.files.sha256_of` the artifact's folder.
CONTENT_PROPERTY = "content_sha256"
# The digest of a folder without files. Object stores have no such folders.
EMPTY = sha256_of_bytes(b"")


def digest_to_record(path: Path, properties: Iterable[str]) -> str:
    """The digest of what a node wrote. Empty for an artifact that has a manifest or doesn't exist.

    Args:
        path: Path of the artifact.
        properties: Names of its custom properties.
    """
    return "" if "manifest_sha256" in properties or not path.exists() else content_digest(path)


def check_content(artifacts: Iterable[Any]) -> None:
    """Compare artifacts with their recorded digests. Artifacts without one are skipped.

    Args:
        artifacts: TFX artifacts whose URIs are paths.

    Raises:
        TamperedError: A file was changed, removed, or added. The message has the artifact and both digests.
    """
    for artifact in artifacts:
        recorded = artifact.get_string_custom_property(CONTENT_PROPERTY)
        if recorded:
            path = Path(artifact.uri)
            compare_content(
                artifact.type_name, artifact.uri, recorded, content_digest(path) if path.exists() else EMPTY
            )


def compare_content(kind: str, place: str, recorded: str, found: str) -> None:
    """Like `check_content` for one artifact with a known digest. Use `EMPTY` for an artifact that doesn't exist."""
    if found != recorded:
        raise TamperedError(
            f"this artifact ({kind}) is not the one that was written",
            where=place,
            bound=f"sha256 {recorded} (ML Metadata)",
            measured=f"sha256 {found}",
            remedy="find out what changed the artifact, delete its folder, and run again, which produces it again",
        )

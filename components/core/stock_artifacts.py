"""Artifacts of stock components, which have no manifest: they are checked against a digest in ML Metadata alone.

For some artifact types, stock components treat every file in the folder as content, so a manifest can't be added there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.core.errors import tampered
from components.core.files import sha256_of_bytes
from components.core.remembered_digests import content_digest

# The custom property with the digest: `components.core.files.sha256_of` the artifact's folder.
CONTENT_PROPERTY = "content_sha256"
# The digest of a folder without files. Object stores have no such folders.
EMPTY = sha256_of_bytes(b"")


def digest_to_record(path: Path, properties: Iterable[str]) -> str:
    """The digest of a node's output. Empty for an artifact that has a manifest or doesn't exist."""
    return "" if "manifest_sha256" in properties or not path.exists() else content_digest(path)


def check_content(artifacts: Iterable[Any]) -> None:
    """Compare TFX artifacts, whose URIs are paths, with their recorded digests. Artifacts without one are skipped.

    Raises:
        TamperedError: A file was changed, removed, or added. The message has the artifact and both digests.
    """
    for artifact in artifacts:
        recorded = artifact.get_string_custom_property(CONTENT_PROPERTY)
        if recorded:
            found = content_digest(Path(artifact.uri)) if Path(artifact.uri).exists() else EMPTY
            compare_content(artifact.type_name, artifact.uri, recorded, found)


def compare_content(kind: str, place: str, recorded: str, found: str) -> None:
    """Like `check_content` for one artifact with a known digest. Use `EMPTY` for an artifact that doesn't exist."""
    if found != recorded:
        raise tampered(kind, place, f"sha256 {recorded} (ML Metadata)", f"sha256 {found}")

"""Artifacts without a manifest: what stock components write is held to a digest that ML Metadata alone has of it.

Stock components take what lies in the folders of some types for their content, so nothing can be put beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from components.core.errors import TamperedError
from components.core.files import sha256_of_bytes
from components.core.remembered_digests import content_digest

# The custom property that holds it: `components.core.files.sha256_of` the artifact's folder.
CONTENT_PROPERTY = "content_sha256"
# Of a folder without files: object stores do not know such folders.
EMPTY = sha256_of_bytes(b"")


def digest_to_record(path: Path, properties: Iterable[str]) -> str:
    """The digest of what a node wrote; empty for an artifact with a manifest, and for one that is not there.

    Args:
        path: Where the artifact lies.
        properties: Names of its custom properties.
    """
    return "" if "manifest_sha256" in properties or not path.exists() else content_digest(path)


def check_content(artifacts: Iterable[Any]) -> None:
    """Compare what nodes wrote with what was recorded of it; those of which nothing was are passed over.

    Args:
        artifacts: TFX artifacts, at paths.

    Raises:
        TamperedError: A file was changed, removed or added. Names the artifact, and both digests.
    """
    for artifact in artifacts:
        recorded = artifact.get_string_custom_property(CONTENT_PROPERTY)
        if recorded:
            path = Path(artifact.uri)
            compare_content(
                artifact.type_name, artifact.uri, recorded, content_digest(path) if path.exists() else EMPTY
            )


def compare_content(kind: str, place: str, recorded: str, found: str) -> None:
    """As `check_content`, of one artifact whose digest is known; that of one that is not there is `EMPTY`."""
    if found != recorded:
        raise TamperedError(
            f"this artifact ({kind}) is not the one that was written",
            where=place,
            bound=f"sha256 {recorded} (ML Metadata)",
            measured=f"sha256 {found}",
            remedy="find out what changed the artifact, delete its folder, and run again: what is missing is produced "
            "again",
        )

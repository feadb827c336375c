"""The `manifest.json` of each artifact, which is enough to verify its bytes without a metadata store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from components.core.files import bytes_of, sha256_of, sha256_of_bytes, write_atomically
from components.core.values import FrozenModel, serialized
from components.facts.streaming import StreamingContract

MANIFEST_NAME = "manifest.json"


Role = Literal[
    "validation",
    "baseline",
    "trained",
    "calibration",
    "candidate",
    "champion",
    "predictions",
    "measurement",
    "latency",
    "evaluation",
    "challenge",
    "explanation",
    "changes",
    "device_check",
    "decision",
    "chosen",
    "release",
]


class Manifest(FrozenModel):
    """The origin and the content of an artifact.

    Attributes:
        role: Role of the artifact in the pipeline.
        recipe: Snapshot of a candidate's recipe, as JSON; None for other artifacts. The type is not `Recipe`, so that
            artifacts without a recipe don't depend on the fields of recipes.
        parents: Input name -> SHA-256 of the input artifact, as in that artifact's own manifest.
        sha256: Digest of `content`.
        content: Path of the main content, relative to the artifact's folder.
        content_bytes: Size of `content`.
        files: Relative path -> SHA-256 of every other file of the artifact.
        code_version: Version of the code that made the artifact (`components.core.version.code_version`).
        streaming: How to run a file of one time step; None for all other artifacts.
    """

    role: Role
    recipe: dict[str, Any] | None = None
    parents: dict[str, str]
    sha256: str
    content: str
    content_bytes: int
    files: dict[str, str]
    code_version: str
    streaming: StreamingContract | None = None

    @property
    def recipe_name(self) -> str:
        """Name of the recipe; empty without one."""
        return str(self.recipe["name"]) if self.recipe is not None else ""


def write_manifest(
    folder: Path,
    content: str,
    *,
    role: Role,
    parents: dict[str, str],
    code_version: str,
    recipe: dict[str, Any] | None = None,
    streaming: StreamingContract | None = None,
) -> Manifest:
    """Describe `folder / content` in `folder / manifest.json`. Call it last: a manifest marks a complete artifact."""
    path, files = folder / content, digests_of(folder)
    manifest = Manifest(
        role=role,
        recipe=recipe,
        parents=parents,
        sha256=sha256_of(path, lambda file: files[file.relative_to(folder).as_posix()]),
        content=content,
        content_bytes=bytes_of(path),
        files=files,
        code_version=code_version,
        streaming=streaming,
    )
    write_atomically(folder / MANIFEST_NAME, serialized(manifest))
    return manifest


def digests_of(folder: Path, of_file: Callable[[Path], str] = sha256_of) -> dict[str, str]:
    """Relative path -> SHA-256 of each file of an artifact except its manifest; `of_file` hashes one file."""
    return {
        path.relative_to(folder).as_posix(): of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST_NAME
    }


def describe(artifact: Any, manifest: Manifest, **properties: str | int | float) -> None:
    """Copy the fields that lineage queries need from the manifest to the custom properties of a TFX artifact."""
    known: dict[str, str | int | float] = {
        "role": manifest.role,
        "sha256": manifest.sha256,
        "manifest_sha256": sha256_of_bytes(serialized(manifest)),
        "content_bytes": manifest.content_bytes,
        "recipe": manifest.recipe_name,
        **properties,
    }
    for name, value in known.items():
        match value:
            case str():
                artifact.set_string_custom_property(name, value)
            case int():
                artifact.set_int_custom_property(name, value)
            case float():
                artifact.set_float_custom_property(name, value)

"""The OCI manifest of a release, which conforms to the CNCF ModelPack specification.

It depends only on the release's own manifest, not on the time or the machine. So every kind of registry has the same
bytes, and a repeated push gives the same digest. An OCI registry stores them as an artifact. Every other kind has two
more files in the release, whose paths contain their digests:

    content/<digest>/oci-manifest.json
    content/<digest>/oci-config.json

The descriptors of the manifest name the files of the release by their digests and their paths.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.object_store.oci.repository import MANIFEST_TYPE
from components.push.release import (
    COMPRESSED_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    Release,
    ReleaseManifest,
    content_path,
    first_line,
)

# Version of the artifacts of `artifact_of`. Its result for a release must never change: add a version instead.
ARTIFACT_FORM: Literal[1] = 1
ARTIFACT_NAME = "oci-manifest.json"
CONFIG_NAME = "oci-config.json"

ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
WEIGHT_TYPE = "application/vnd.cncf.model.weight.v1.raw"
WEIGHT_CONFIG_TYPE = "application/vnd.cncf.model.weight.config.v1.raw"
DOCUMENT_TYPE = "application/vnd.cncf.model.doc.v1.raw"
CODE_TYPE = "application/vnd.cncf.model.code.v1.raw"
DATASET_TYPE = "application/vnd.cncf.model.dataset.v1.raw"
FILE_PATH = "org.cncf.model.filepath"

_ORDER = {name: index for index, name in enumerate((MODEL_NAME, COMPRESSED_NAME, MANIFEST_NAME))}
_ANNOTATION = "io.edgemill"
_SUFFIXES = {
    ".md": DOCUMENT_TYPE,
    "_card.json": DOCUMENT_TYPE,
    ".cc": CODE_TYPE,
    ".h": CODE_TYPE,
    ".bin": DATASET_TYPE,
    ".txt": DOCUMENT_TYPE,
}


class _Descriptor(BaseModel):
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    annotations: dict[str, str] = {}


class _Artifact(BaseModel):
    artifact_type: Literal["application/vnd.cncf.model.manifest.v1+json"] = Field(alias="artifactType")
    layers: list[_Descriptor]


def artifact_of(release: Release, written: bytes | None = None) -> tuple[bytes, bytes]:
    """Return the configuration and the manifest of a release's artifact, whose files the release's manifest lists.

    Args:
        release: The release.
        written: The stored bytes of its manifest; by default, the bytes that a push writes.
    """
    manifest, written = release.manifest, written or serialized(release.manifest)
    files = {
        MODEL_NAME: (manifest.sha256, manifest.bytes),
        MANIFEST_NAME: (sha256_of_bytes(written), len(written)),
    }
    if manifest.compressed is not None:
        files[COMPRESSED_NAME] = (manifest.compressed.sha256, manifest.compressed.bytes)
    files |= {one.path(name): (one.sha256, one.bytes) for name, one in manifest.files.items()}
    names = sorted(files, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
    layers = [_descriptor(media_type(name), *files[name], {FILE_PATH: name}) for name in names]
    config = _json(
        {
            "descriptor": {"name": manifest.name, "title": manifest.name, "version": release.version},
            "config": {"format": "tflite", "quantization": manifest.recipe.scheme.kind},
            "modelfs": {"type": "layers", "diffIds": [layer["digest"] for layer in layers]},
        }
    )
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": _descriptor(CONFIG_TYPE, sha256_of_bytes(config), len(config)),
        "layers": layers,
        "annotations": _annotations(manifest, release.version),
    }
    return config, _json(content)


def artifact_path(artifact: bytes) -> str:
    """Return the path of an OCI manifest in a release that consists of files."""
    return content_path(sha256_of_bytes(artifact), ARTIFACT_NAME)


def artifact_files(release: Release, written: bytes | None = None) -> dict[str, bytes]:
    """Return the OCI manifest of a release and its configuration by their paths; none if the release predates them.

    Args:
        release: The release.
        written: The stored bytes of its manifest; by default, the bytes that a push writes.
    """
    if not release.manifest.artifact:
        return {}
    config, artifact = artifact_of(release, written)
    return {artifact_path(artifact): artifact, content_path(sha256_of_bytes(config), CONFIG_NAME): config}


def check_artifact(release: Release, written: bytes, read: Callable[[str], bytes]) -> None:
    """Check that a release in files contains its OCI manifest, and that this is the one that a push wrote.

    Args:
        release: The release.
        written: The stored bytes of its manifest.
        read: Reads a file by its path in the release. Raises an OSError if it can't be read.

    Raises:
        RegistryError: The OCI manifest is missing or differs.
    """
    for path, expected in artifact_files(release, written).items():
        try:
            found = sha256_of_bytes(content) if (content := read(path)) != expected else ""
        except OSError as error:
            found = first_line(error)
        if found:
            raise other_artifact(f"{release.path}/{path}", f"sha256 {sha256_of_bytes(expected)}", found)


def other_artifact(where: str, bound: str, measured: str) -> RegistryError:
    """The error for a release whose OCI manifest doesn't match it."""
    return RegistryError(
        "the OCI manifest of this release is not the one that was pushed",
        where=where,
        bound=bound,
        measured=measured,
        remedy="restore it: `edgemill registry repair`, or push the same model again",
    )


def files_in(artifact: bytes, place: str) -> dict[str, str]:
    """Return the files of an artifact: path in the release -> digest.

    Raises:
        RegistryError: It isn't a release.
    """
    try:
        found = _Artifact.model_validate_json(artifact)
    except ValidationError as error:
        raise RegistryError(
            "this is not a release",
            where=place,
            bound=f"an OCI manifest of the type {ARTIFACT_TYPE}",
            measured=first_line(error),
            remedy="specify a release that a run pushed, or push again to replace the tag",
        ) from error
    return {layer.annotations.get(FILE_PATH, ""): layer.digest for layer in found.layers}


def config_in(artifact: bytes) -> str:
    """Return the digest of an artifact's configuration; empty if it isn't an artifact."""
    try:
        return str(json.loads(artifact)["config"]["digest"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""


def media_type(name: str) -> str:
    """Return the media type of a file of a release."""
    if name in {MODEL_NAME, COMPRESSED_NAME}:
        return WEIGHT_TYPE
    return next((found for suffix, found in _SUFFIXES.items() if name.endswith(suffix)), WEIGHT_CONFIG_TYPE)


def _annotations(manifest: ReleaseManifest, version: str) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": manifest.name,
        "org.opencontainers.image.version": version,
        f"{_ANNOTATION}.name": manifest.name,
        f"{_ANNOTATION}.version": version,
        f"{_ANNOTATION}.device-class": manifest.device_class,
        f"{_ANNOTATION}.device": manifest.device,
        f"{_ANNOTATION}.scheme": manifest.recipe.scheme.kind,
        **({f"{_ANNOTATION}.runtime-floor": manifest.runtime_floor} if manifest.runtime_floor else {}),
    }


def _descriptor(kind: str, sha256: str, size: int, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}
    return {**found, "annotations": dict(annotations)} if annotations else found


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

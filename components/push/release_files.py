"""The files of a release, and the checks that make it complete. The same for every kind of registry."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from components.core.compression import gunzip, gzip_of
from components.core.errors import RegistryError, SpecError
from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.push.artifact import check_artifact
from components.push.release import (
    COMPRESSED_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    ChannelPointer,
    CompressedForm,
    Release,
    ReleaseFile,
    ReleaseManifest,
    first_line,
)

VERSION_PATTERN = re.compile(r"[0-9a-f]{16}")
PART_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")

_REWRITE = "push again, or use `edgemill rollback`, to rewrite the pointer"

# Reads a file of a release, or a channel's pointer, by its name. Raises an OSError if it can't be read.
Read = Callable[[str], bytes]


def place_of(device_class: str, name: str) -> str:
    """Return the location of a pipeline's releases below the root of a registry.

    Raises:
        SpecError: The device class or the name can't be a folder name.
    """
    check_part("device class", device_class)
    check_part("name", name)
    return f"{device_class}/{name}"


def check_part(what: str, value: str) -> None:
    """Raise a SpecError if a device class or a name can't be a folder name."""
    if not PART_PATTERN.fullmatch(value):
        raise SpecError(
            f"the {what} cannot be a folder name in the registry",
            bound="lowercase letters, digits, - and _",
            measured=repr(value),
            remedy="rename it",
        )


def root_and_place(address: str) -> tuple[str, str]:
    """Split the path or address of a release into the registry's root and `<device class>/<name>/<version>`."""
    root, *parts = address.rsplit("/", 3)
    return root, "/".join(parts)


def is_manifest(content: bytes) -> bool:
    """Return whether a file is the manifest of a release. There can be other manifests next to other models."""
    try:
        ReleaseManifest.model_validate_json(content)
    except ValidationError:
        return False
    return True


def is_inside(parts: list[str]) -> bool:
    """Whether this is a file of a release, below a folder that is only a part of a registry."""
    below_class = VERSION_PATTERN.fullmatch(parts[1]) and parts[2:] == [MANIFEST_NAME]
    return bool(below_class or (VERSION_PATTERN.fullmatch(parts[0]) and parts[1] == "content"))


def described(files: Mapping[str, bytes]) -> dict[str, ReleaseFile]:
    """Return the description of files next to a model."""
    return {name: ReleaseFile(sha256=sha256_of_bytes(one), bytes=len(one)) for name, one in sorted(files.items())}


def check_describes(manifest: ReleaseManifest, model: bytes, files: Mapping[str, bytes]) -> None:
    """Raise a RegistryError if a manifest is for other bytes."""
    if manifest.files != described(files):
        raise RegistryError(
            "the release manifest describes other files",
            bound=", ".join(sorted(files)) or "no files",
            measured=", ".join(sorted(manifest.files)) or "no files",
            remedy="make the manifest from the files that are pushed",
        )
    digest = sha256_of_bytes(model)
    if (manifest.sha256, manifest.bytes) != (digest, len(model)):
        raise RegistryError(
            "the release manifest describes other bytes",
            bound=f"sha256 {digest}, {len(model)} bytes",
            measured=f"sha256 {manifest.sha256}, {manifest.bytes} bytes",
            remedy="make the manifest from the bytes that are pushed",
        )


def compressed_form(model: bytes) -> tuple[bytes, CompressedForm]:
    """Return the compressed model and its description."""
    content = gzip_of(model)
    return content, CompressedForm(sha256=sha256_of_bytes(content), bytes=len(content))


def read_release(folder: str, version: str, read: Read, target: str | None = None, *, in_files: bool = True) -> Release:
    """Read and verify a release.

    Args:
        folder: Path or address of the release.
        version: The version in its address.
        read: Reads its files.
        target: The path or address that the user gave, if it isn't the folder.
        in_files: Whether the OCI manifest is a file of the release.

    Raises:
        RegistryError: A file is missing or damaged, or the bytes don't match the manifest and the version.
    """
    try:
        model = read(MODEL_NAME)
        manifest = ReleaseManifest.model_validate_json(written := read(MANIFEST_NAME))
    except ValidationError as error:
        raise RegistryError(
            "the manifest of this release is damaged",
            where=f"{folder}/{MANIFEST_NAME}",
            bound="the manifest that a push wrote",
            measured=first_line(error),
            remedy="push the same model again to rewrite it, or move the release away",
        ) from error
    except OSError as error:
        raise RegistryError(
            f"this is not a complete release: {first_line(error)}",
            where=target or folder,
            bound=f"a folder with {MODEL_NAME} and {MANIFEST_NAME}",
            remedy="specify the folder of a release or its model file; if it was complete before, move it away and "
            "push again",
        ) from error
    digest = sha256_of_bytes(model)
    if digest != manifest.sha256 or version != digest[:16]:
        raise corrupt_model(folder, manifest.sha256, digest)
    if manifest.compressed is not None:
        _check_compressed(folder, manifest.compressed, model, read)
    for name, form in manifest.files.items():
        _check_file(folder, name, form, read)
    release = Release(version=version, path=folder, manifest=manifest)
    if in_files:
        check_artifact(release, written, read)
    return release


def corrupt_model(folder: str, expected: str, found: str) -> RegistryError:
    """The error for a release with a different model than the one that was pushed."""
    return RegistryError(
        "the release is corrupt: its model is not the one that was pushed",
        where=folder,
        bound=f"sha256 {expected}, in a folder of its first 16 digits",
        measured=found,
        remedy="find out what changed it, move the release away, and push again",
    )


def _check_compressed(folder: str, form: CompressedForm, model: bytes, read: Read) -> None:
    """Verify the digest and the content of the compressed form, so that devices that fetch it get the model."""
    try:
        compressed = read(COMPRESSED_NAME)
    except OSError as error:
        raise RegistryError(
            f"this is not a complete release: {first_line(error)}",
            where=folder,
            bound=f"a folder with {MODEL_NAME}, {COMPRESSED_NAME} and {MANIFEST_NAME}",
            remedy="if it was complete before, move it away and push again",
        ) from error
    digest = sha256_of_bytes(compressed)
    same = form.file == COMPRESSED_NAME and gunzip(compressed, len(model)) == model
    if (digest, len(compressed)) != (form.sha256, form.bytes) or not same:
        raise corrupt_form(f"{folder}/{COMPRESSED_NAME}", form, compressed, same=same)


def _check_file(folder: str, name: str, form: ReleaseFile, read: Read) -> None:
    try:
        content = read(form.path(name))
    except OSError as error:
        raise RegistryError(
            f"this is not a complete release: {first_line(error)}",
            where=folder,
            bound=f"a folder with {form.path(name)}",
            remedy="push the same model again",
        ) from error
    if (found := sha256_of_bytes(content)) != form.sha256:
        raise corrupt_file(f"{folder}/{form.path(name)}", form, found)


def corrupt_file(place: str, form: ReleaseFile, found: str) -> RegistryError:
    """The error for a file next to the model whose content differs from what was pushed."""
    return RegistryError(
        "the release is corrupt: this file is not the one that was pushed",
        where=place,
        bound=f"sha256 {form.sha256}",
        measured=found,
        remedy="find out what changed it, move the file away, and push again",
    )


def corrupt_form(place: str, form: CompressedForm, found: bytes, *, same: bool) -> RegistryError:
    """The error for a compressed form with different content, or with different bytes for the `same` content."""
    return RegistryError(
        "the release is corrupt: its compressed form is not the model that was pushed",
        where=place,
        bound=f"sha256 {form.sha256}, {form.bytes:,} bytes, of the model's content",
        measured=f"sha256 {sha256_of_bytes(found)}, {len(found):,} bytes{'' if same else ', of other content'}",
        remedy="find out what changed it, move the release away, and push again",
    )


def pointer_to(release: Release) -> bytes:
    """Return the content of a channel's pointer to a release."""
    return serialized(_pointer(release))


def _pointer(release: Release) -> ChannelPointer:
    manifest = release.manifest
    return ChannelPointer(version=release.version, sha256=manifest.sha256, bytes=manifest.bytes)


def pointed_version(content: bytes | None) -> str | None:
    """Return the version that a pointer names, or None if there isn't one or it is damaged."""
    try:
        return None if content is None else ChannelPointer.model_validate_json(content).version
    except ValidationError:
        return None


def read_channel(place: str, read: Callable[[], bytes], find: Callable[[str], Release]) -> Release | None:
    """Return the release that a channel points to, or None if the channel doesn't exist.

    Args:
        place: Path or address of the pointer.
        read: Reads the pointer.
        find: Returns the verified release of a version.

    Raises:
        RegistryError: The pointer can't be read, or its release is incomplete, corrupt, or in the location of another.
    """
    try:
        pointer = ChannelPointer.model_validate_json(read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise RegistryError(
            f"the channel's pointer cannot be read: {first_line(error)}",
            where=place,
            remedy=_REWRITE,
        ) from error
    release = find(pointer.version)
    if pointer != _pointer(release):
        raise RegistryError(
            "the channel's pointer differs from its release",
            where=place,
            bound=_pointer(release).model_dump_json(),
            measured=pointer.model_dump_json(),
            remedy=_REWRITE,
        )
    check_place(place.rpartition("/")[0], release)
    return release


def check_place(folder: str, release: Release) -> None:
    """Raise a RegistryError if a release isn't below the folder of its device class and name."""
    place = f"{release.manifest.device_class}/{release.manifest.name}"
    found = "/".join(folder.split("/")[-2:])
    if found != place:
        raise RegistryError(
            "this release is in the wrong location in the registry",
            where=folder,
            bound=f"a folder .../{place}",
            measured=f".../{found}",
            remedy="specify a release that was pushed for this device and pipeline",
        )


def no_such_channel(folder: str, channel: str, channels: list[str]) -> RegistryError:
    """The error for a channel that doesn't exist."""
    return RegistryError(
        "there is no such channel",
        where=folder,
        bound=", ".join(channels) or "there are no channels",
        measured=channel,
        remedy="choose another --channel",
    )

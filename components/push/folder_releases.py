"""A registry of releases in a folder, independent of TFX: content-addressed, atomic, and idempotent.

    <root>/<device class>/<name>/<version>/model.tflite      version: first 16 hex digits of the bytes' SHA-256
    <root>/<device class>/<name>/<version>/model.tflite.gz   the same bytes in the compressed form that is served
    <root>/<device class>/<name>/<version>/manifest.json     a ReleaseManifest
    <root>/<device class>/<name>/<channel>.json              a ChannelPointer, which devices follow

A release is staged next to its final place, made durable, and renamed. Then the pointer is replaced. So a reader sees
a complete release or none, and two pushes of the same bytes make one release. A failed push leaves at most empty
folders.

A push of bytes that are already there verifies them. It replaces any other file of the release that differs from what
it writes, such as a manifest that was edited by hand or written after an earlier decision. So a release always reflects
the newest push.

The compressed form is gzip, although Zstandard is a few percent smaller. Every phone platform, every HTTP client
(`Content-Encoding: gzip`), and small zlib implementations for microcontrollers decode gzip with a 32 KiB window.
Zstandard at high levels needs megabytes and an additional library.
"""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path

from pydantic import ValidationError

from components.core.compression import gunzip, gzip_of
from components.core.errors import RegistryError, SpecError
from components.core.files import is_file, read_regular, sha256_of_bytes, write_atomically
from components.core.values import FrozenModel
from components.push.folder_files import STAGING_PREFIX, explained, is_there, remove_stale, stage_and_rename
from components.push.release import (
    COMPRESSED_NAME,
    MODEL_NAME,
    ChannelPointer,
    CompressedForm,
    Release,
    ReleaseManifest,
    first_line,
)
from components.spec.registry import LocalRegistry

MANIFEST_NAME = "manifest.json"
_FOLDER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,127}")

_LOG = logging.getLogger(__name__)


def publish(spec: LocalRegistry, device_class: str, name: str, model: bytes, manifest: ReleaseManifest) -> Release:
    """Publish a model and its compressed form, and point the channel at the release.

    An existing release of the same bytes is verified, and its other files are replaced if they differ.

    Args:
        spec: The registry.
        device_class, name: Folders of the release in the registry.
        model: Content of the model file.
        manifest: The release's manifest. Its compressed form is filled in here.

    Raises:
        RegistryError: The registry isn't writable, or it holds a corrupt release. The channel is unchanged.
        SpecError: The device class or the name isn't a valid folder name.
    """
    digest = sha256_of_bytes(model)
    if (manifest.sha256, manifest.bytes) != (digest, len(model)):
        raise RegistryError(
            "the release manifest describes other bytes",
            bound=f"sha256 {digest}, {len(model)} bytes",
            measured=f"sha256 {manifest.sha256}, {manifest.bytes} bytes",
            remedy="make the manifest from the bytes that are pushed",
        )
    folder = _folder(spec, device_class, name)
    version = digest[:16]
    final = folder / version
    compressed = gzip_of(model)
    form = CompressedForm(sha256=sha256_of_bytes(compressed), bytes=len(compressed))
    manifest = manifest.model_copy(update={"compressed": form})
    with explained(folder, len(model) + len(compressed)):
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder, spec.channel)
        if not final.exists():
            files = {MODEL_NAME: model, COMPRESSED_NAME: compressed, MANIFEST_NAME: _json(manifest)}
            stage_and_rename(final, files)
        release = _written_again(final, compressed, manifest)
        pointer = _json(ChannelPointer(version=version, sha256=digest, bytes=len(model)))
        path = folder / f"{spec.channel}.json"
        if not (path.is_file() and path.read_bytes() == pointer):
            write_atomically(path, pointer)
    return release


def find_release(path: Path) -> Release:
    """Read and verify a release.

    Args:
        path: The release's folder, or its model file, compressed or not.

    Raises:
        RegistryError: There is no release, or its bytes don't match its manifest and version.
    """
    folder = path.parent if path.name in {MODEL_NAME, COMPRESSED_NAME} else path
    try:
        model = read_regular(folder / MODEL_NAME)
        manifest = ReleaseManifest.model_validate_json(read_regular(folder / MANIFEST_NAME))
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"]))
        raise RegistryError(
            "the manifest of this release is damaged",
            where=str(folder / MANIFEST_NAME),
            bound="the manifest that a push wrote",
            measured=f"{field}: {problem['msg']}" if field else problem["msg"],
            remedy="push the same model again to rewrite it, or move the release's folder away",
        ) from error
    except OSError as error:
        raise RegistryError(
            f"this is not a complete release: {first_line(error)}",
            where=str(path),
            bound=f"a folder with {MODEL_NAME} and {MANIFEST_NAME}",
            remedy="name a release's folder or its model file; if it was complete before, move it away and push again",
        ) from error
    digest = sha256_of_bytes(model)
    if digest != manifest.sha256 or folder.resolve().name != digest[:16]:
        raise RegistryError(
            "the release is corrupt: its model is not the one that was pushed",
            where=str(folder),
            bound=f"sha256 {manifest.sha256}, in a folder of its first 16 digits",
            measured=digest,
            remedy="find out what changed it, move the folder away, and push again",
        )
    if manifest.compressed is not None:
        _check_compressed(folder, manifest.compressed, model)
    return Release(version=digest[:16], path=str(folder), manifest=manifest)


def is_file_of_release(path: Path) -> bool:
    """Return whether a file is the model of a release, compressed or not. Other models can lie next to a manifest."""
    if path.name == COMPRESSED_NAME:
        return True
    try:
        ReleaseManifest.model_validate_json(read_regular(path.parent / MANIFEST_NAME))
    except (OSError, ValidationError):
        return False
    return path.name == MODEL_NAME


def manifest_digest(manifest: ReleaseManifest) -> str:
    """Return the SHA-256 of a manifest's file."""
    return sha256_of_bytes(_json(manifest))


def _written_again(folder: Path, compressed: bytes, manifest: ReleaseManifest) -> Release:
    """Verify a release, and replace its compressed form and its manifest if they differ from this push."""
    release = find_release(folder)
    # The order matters: a reader in between refuses the release and reads it again.
    for name, content in ((COMPRESSED_NAME, compressed), (MANIFEST_NAME, _json(manifest))):
        path = folder / name
        # The manifest of an old release has no compressed form, so the file may be missing.
        if not is_file(path) or read_regular(path) != content:
            _LOG.warning("%s differs from what this push writes and is replaced", path)
            write_atomically(path, content)
    return release if release.manifest == manifest else find_release(folder)


def _check_compressed(folder: Path, form: CompressedForm, model: bytes) -> None:
    """Verify the digest and the content of the compressed form, so that devices that fetch it get the model."""
    path = folder / COMPRESSED_NAME
    try:
        compressed = read_regular(path)
    except OSError as error:
        raise RegistryError(
            f"this is not a complete release: {first_line(error)}",
            where=str(folder),
            bound=f"a folder with {MODEL_NAME}, {COMPRESSED_NAME} and {MANIFEST_NAME}",
            remedy="if it was complete before, move it away and push again",
        ) from error
    digest = sha256_of_bytes(compressed)
    same = form.file == COMPRESSED_NAME and gunzip(compressed, len(model)) == model
    if (digest, len(compressed)) != (form.sha256, form.bytes) or not same:
        raise RegistryError(
            "the release is corrupt: its compressed form is not the model that was pushed",
            where=str(path),
            bound=f"sha256 {form.sha256}, {form.bytes:,} bytes, of the model's content",
            measured=f"sha256 {digest}, {len(compressed):,} bytes{'' if same else ', of other content'}",
            remedy="find out what changed it, move the folder away, and push again",
        )


def current(root: Path, device_class: str, name: str, channel: str = "stable") -> Release | None:
    """Return the release that a channel points at, or None if the channel doesn't exist.

    Raises:
        RegistryError: The pointer cannot be read, or its release is incomplete or corrupt.
    """
    path = root / device_class / name / f"{channel}.json"
    try:
        pointer = ChannelPointer.model_validate_json(read_regular(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise RegistryError(
            f"the channel's pointer cannot be read: {first_line(error)}",
            where=str(path),
            remedy="push again to rewrite the pointer",
        ) from error
    release = find_release(path.parent / pointer.version)
    if release.manifest.sha256 != pointer.sha256:
        raise RegistryError(
            "the channel's digest differs from that of the release",
            where=str(path),
            bound=pointer.sha256,
            measured=release.manifest.sha256,
            remedy="push again to rewrite the pointer",
        )
    return release


def point_at(release: Path, channel: str) -> tuple[str | None, Release]:
    """Point a channel at an existing release, to roll back from a bad one.

    Args:
        release: The release's folder.
        channel: An existing channel. A rollback doesn't create channels.

    Returns:
        The version that the channel pointed at before (None if its pointer cannot be read), and the verified release.

    Raises:
        RegistryError: The release is incomplete or belongs elsewhere, the channel doesn't exist, or the registry isn't
            writable.
    """
    found = find_release(release)
    folder = Path(found.path).resolve().parent
    place = f"{found.manifest.device_class}/{found.manifest.name}"
    if not folder.match(place):
        raise RegistryError(
            "this release is not in its place in the registry",
            where=str(folder),
            bound=f"a folder .../{place}",
            measured=f".../{folder.parent.name}/{folder.name}",
            remedy="name a release that was pushed for this device and pipeline",
        )
    channels = sorted(one.stem for one in folder.glob("[!.]*.json"))
    if channel not in channels:
        raise RegistryError(
            "there is no such channel",
            where=str(folder),
            bound=", ".join(channels) or "there are no channels",
            measured=channel,
            remedy="name another --channel",
        )
    path = folder / f"{channel}.json"
    try:
        before = ChannelPointer.model_validate_json(read_regular(path)).version
    except (OSError, ValidationError):
        before = None
    with explained(folder, 0):
        pointer = ChannelPointer(version=found.version, sha256=found.manifest.sha256, bytes=found.manifest.bytes)
        write_atomically(path, _json(pointer))
    return before, found


def check_writable(spec: LocalRegistry) -> None:
    """Check, before anything runs, that the registry is writable. Leaves no files behind.

    Raises:
        RegistryError: The registry isn't writable.
    """
    nearest = Path(spec.root)
    with explained(nearest, 0):
        while not is_there(nearest):
            nearest = nearest.parent
        with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=nearest) as probe:
            (Path(probe) / "probe").write_bytes(b"probe")


def _folder(spec: LocalRegistry, device_class: str, name: str) -> Path:
    for what, value in (("device class", device_class), ("name", name)):
        if not _FOLDER_NAME.fullmatch(value):
            raise SpecError(
                f"the {what} cannot be a folder name in the registry",
                bound="lowercase letters, digits, - and _",
                measured=repr(value),
                remedy="rename it",
            )
    return Path(spec.root) / device_class / name


def _json(value: FrozenModel) -> bytes:
    return value.model_dump_json(indent=2).encode() + b"\n"

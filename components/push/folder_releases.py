"""A registry of releases in a folder, independent of TFX: content-addressed, atomic, and idempotent.

    <root>/<device class>/<name>/<version>/model.tflite      version: first 16 hex digits of the model's SHA-256
    <root>/<device class>/<name>/<version>/model.tflite.gz   the same bytes in the compressed form that is served
    <root>/<device class>/<name>/<version>/manifest.json     a ReleaseManifest
    <root>/<device class>/<name>/<version>/content/...       files by their digests, the OCI manifest among them
    <root>/<device class>/<name>/<channel>.json              a ChannelPointer, which devices follow

A release is staged next to its final place, made durable, and renamed. Then the pointer is replaced. So a reader sees
a complete release or none, and two pushes of the same bytes create one release. A failed push leaves at most empty
folders.

A push of bytes that are already there verifies them. It writes another manifest, such as that of a later decision, at
`content/<digest>/manifest.json`. After the channel has changed, it becomes `manifest.json`, and the one before is kept
at its digest, because other channels can have signed it.

The compressed form is gzip, although Zstandard is a few percent smaller. Every phone platform, every HTTP client
(`Content-Encoding: gzip`), and small zlib implementations for microcontrollers decode gzip with a 32 KiB window.
Zstandard at high levels needs megabytes and an additional library.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from components.core.errors import RegistryError
from components.core.files import is_file, is_folder, read_regular, sha256_of_bytes, write_atomically
from components.core.values import serialized
from components.object_store.explained import as_registry_errors
from components.object_store.limits import LONGEST_DOCUMENT, largest, read_bounded
from components.push import claims
from components.push.artifact import ARTIFACT_FORM, artifact_files
from components.push.folder_files import explained, probe, remove_stale, stage_and_rename
from components.push.release import (
    COMPRESSED_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    NO_FILES,
    ChannelPointer,
    Release,
    ReleaseManifest,
    manifest_path,
)
from components.push.release_files import (
    VERSION_PATTERN,
    check_describes,
    check_place,
    compressed_form,
    is_manifest,
    no_such_channel,
    place_of,
    pointed_version,
    pointer_to,
    read_channel,
    read_release,
    root_and_place,
)
from components.spec.registry import LocalRegistry

# Each failed attempt means that a collection removed the release.
_MOST_ATTEMPTS = 50

_LOG = logging.getLogger(__name__)


def put(
    spec: LocalRegistry,
    device_class: str,
    name: str,
    model: bytes,
    manifest: ReleaseManifest,
    files: Mapping[str, bytes] = NO_FILES,
) -> Release:
    """Write a release: the model, its compressed form, and the manifest. No channel changes.

    An existing release of the same bytes is verified, and its other files are replaced if they differ.

    Args:
        spec: The registry.
        device_class, name: Folders of the release in the registry.
        model: Content of the model file.
        manifest: The release's manifest. This function adds its compressed form.
        files: The files that the manifest describes.

    Raises:
        RegistryError: The registry isn't writable, or it contains a corrupt release.
        SpecError: The device class or the name isn't a valid folder name.
    """
    check_describes(manifest, model, files)
    folder = Path(spec.root, place_of(device_class, name))
    final = folder / manifest.sha256[:16]
    compressed, form = compressed_form(model)
    manifest = manifest.model_copy(update={"compressed": form, "artifact": ARTIFACT_FORM})
    beside = {manifest.files[one].path(one): content for one, content in files.items()}
    placed = beside | artifact_files(Release(version=final.name, path=str(final), manifest=manifest))
    with explained(folder, len(model) + len(compressed) + sum(map(len, placed.values()))):
        folder.mkdir(parents=True, exist_ok=True)
        remove_stale(folder, spec.channel)
        for _ in range(_MOST_ATTEMPTS):
            if not final.exists() or not any(final.iterdir()):
                own = {MODEL_NAME: model, COMPRESSED_NAME: compressed, MANIFEST_NAME: serialized(manifest)}
                stage_and_rename(final, {**own, **placed})
            try:
                release = _written_again(final, compressed, manifest, beside)
            except RegistryError:
                if final.exists():
                    raise
                continue  # A collection has just removed it.
            _settle(final)
            if _is_complete(release):
                return release
    raise claims.collected(str(final))


def commit(spec: LocalRegistry, release: Release) -> None:
    """Point the channel to a release with one rename. Creates the channel if it doesn't exist.

    Raises:
        RegistryError: The registry isn't writable. The channel is unchanged.
    """
    folder, pointer = Path(release.path).parent, pointer_to(release)
    path = folder / f"{spec.channel}.json"
    with explained(folder, len(pointer)):
        if not (path.is_file() and path.read_bytes() == pointer):
            write_atomically(path, pointer)
        _check_kept(release)
        if _make_current(Path(release.path), serialized(release.manifest)):
            # A collection spares its files only from now on.
            _check_kept(release, artifact_files(release))


def find_release(path: Path, *, in_files: bool = True) -> Release:
    """Read and verify a release.

    Args:
        path: The release's folder, or its model file, compressed or not.
        in_files: Whether to verify its OCI manifest as well.

    Raises:
        RegistryError: There is no release, or its bytes don't match its manifest and version.
    """
    folder = path.parent if path.name in {MODEL_NAME, COMPRESSED_NAME} else path
    version = folder.resolve().name
    return read_release(str(folder), version, lambda name: _read(folder / name), str(path), in_files=in_files)


def _read(path: Path) -> bytes:
    with as_registry_errors("the registry", str(path)):
        return read_bounded(path, largest(path.name))


def is_file_of_release(path: Path) -> bool:
    """Return whether a file is the model of a release, compressed or not. Other models can be next to a manifest."""
    if path.name == COMPRESSED_NAME:
        return True
    try:
        described = is_manifest(_read(path.parent / MANIFEST_NAME))
    except OSError:
        return False
    return described and path.name == MODEL_NAME


def _written_again(folder: Path, compressed: bytes, manifest: ReleaseManifest, beside: Mapping[str, bytes]) -> Release:
    """Verify a release, and write the other files of this push. Nothing that is there changes."""
    # A manifest that was edited by hand has no OCI manifest.
    release = find_release(folder, in_files=False)
    # A collection doesn't remove recently written files.
    os.utime(folder / MANIFEST_NAME)
    form = release.manifest.compressed
    wanted = {**beside, **({} if form else {COMPRESSED_NAME: compressed})}
    # Another version of zlib compresses to other bytes, which are as good.
    manifest = manifest.model_copy(update={"compressed": form or manifest.compressed})
    mine, content = release.model_copy(update={"manifest": manifest}), serialized(manifest)
    wanted |= artifact_files(mine)
    if not _is(folder / MANIFEST_NAME, content):
        wanted[manifest_path(sha256_of_bytes(content))] = content
    for name, one in wanted.items():
        if not _is(folder / name, one):
            write_atomically(folder / name, one)
    return mine


def _make_current(folder: Path, content: bytes) -> bool:
    """Replace the current manifest if it differs, and keep it at its digest. Return whether it differed."""
    if (before := _read(path := folder / MANIFEST_NAME)) == content:
        return False
    if not _is(kept := folder / manifest_path(sha256_of_bytes(before)), before):
        write_atomically(kept, before)
    _LOG.warning("%s differs from the content of this push, and is replaced", path)
    write_atomically(path, content)
    return True


def _is(path: Path, content: bytes) -> bool:
    return is_file(path) and read_regular(path, len(content) + 1) == content


def _is_complete(release: Release, also: Iterable[str] = ()) -> bool:
    names = [MODEL_NAME, MANIFEST_NAME, *(one.path(name) for name, one in release.manifest.files.items()), *also]
    return all(is_file(Path(release.path, name)) for name in names)


def _check_kept(release: Release, also: Iterable[str] = ()) -> None:
    """Raise a CollectedError if a collection removed a release before a channel named it."""
    _settle(Path(release.path))
    if not _is_complete(release, also):
        raise claims.collected(release.path)


def _settle(folder: Path) -> None:
    root, place = root_and_place(str(folder.resolve()))
    claims.settle(root, {place})


def current(root: Path, device_class: str, name: str, channel: str = "stable") -> Release | None:
    """Return the release that a channel points to, or None if the channel doesn't exist.

    Raises:
        RegistryError: The pointer cannot be read, or its release is incomplete or corrupt.
    """
    folder = root / place_of(device_class, name)
    path = folder / f"{channel}.json"
    return read_channel(str(path), lambda: _read(path), lambda version: find_release(folder / version))


def pointers(folder: Path) -> list[Path]:
    """The pointers of all channels next to releases, sorted. They may be damaged, or broken links."""
    return sorted(folder.glob("[!.]*.json"))


def pointed_at(path: Path) -> Release:
    """Return the release that a pointer names.

    Raises:
        RegistryError: As for `current`, or if there is no pointer.
    """
    found = read_channel(str(path), lambda: _read(path), lambda version: find_release(path.parent / version))
    if found is None:
        raise no_such_channel(str(path.parent), path.stem, [])
    return found


def versions(root: Path, device_class: str, name: str) -> tuple[str, ...]:
    """Return the versions of a pipeline's releases, sorted. Their files aren't read."""
    found = (path for path in (root / place_of(device_class, name)).glob("*") if VERSION_PATTERN.fullmatch(path.name))
    return tuple(sorted(path.name for path in found if is_folder(path)))


def point_at(release: Path, channel: str) -> tuple[str | None, Release]:
    """Point a channel to an existing release, to roll back from a bad one.

    Args:
        release: The release's folder.
        channel: An existing channel. A rollback doesn't create channels.

    Returns:
        The version that the channel pointed to before (None if its pointer cannot be read), and the verified release.

    Raises:
        RegistryError: The release is incomplete or belongs elsewhere, the channel doesn't exist, or the registry isn't
            writable.
    """
    found = find_release(release, in_files=False)
    folder = Path(found.path).resolve().parent
    check_place(str(folder), found)
    channels = [one.stem for one in pointers(folder)]
    if channel not in channels:
        raise no_such_channel(str(folder), channel, channels)
    path = folder / f"{channel}.json"
    try:
        before = pointed_version(read_regular(path, LONGEST_DOCUMENT))
    except OSError:
        before = None
    with explained(folder, 0):
        write_atomically(path, pointer_to(found))
        _check_kept(found)
    return before, found


def follow(path: Path, pointer: ChannelPointer) -> None:
    """Create or replace a channel's pointer.

    Raises:
        RegistryError: The registry isn't writable.
    """
    with explained(path, 0):
        write_atomically(path, serialized(pointer))


def check_writable(spec: LocalRegistry) -> None:
    """Check, before anything runs, that the registry is writable. Leaves no files behind.

    Raises:
        RegistryError: The registry isn't writable.
    """
    with explained(root := Path(spec.root), 0):
        probe(root)

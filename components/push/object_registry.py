"""Registries in object stores: Amazon S3 and Google Cloud Storage.

The keys are the paths of a folder registry (`folder_releases`), so one can be copied to the other.

An object store has no rename. Instead, each write has a condition that the store checks:

- The model and its compressed form are created only if there is no object yet. They are never replaced. Their version
  is a digest of the model, so all pushers write the same content.
- The manifest comes last, because it makes a release complete. It and the pointer of a channel are replaced only if
  they are still what was read. Otherwise, another push came first, and they are read again. A manifest that is replaced
  is first kept at its digest.

So no push overwrites anything that it hasn't read, and a killed push leaves the channel either unchanged or moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

from components.core.errors import MetadataError, RegistryError, StorageError
from components.core.files import sha256_of_bytes
from components.object_store.bucket import below, split
from components.object_store.clients import bucket_of
from components.object_store.limits import LONGEST_DOCUMENT, largest
from components.push import claims
from components.push.artifact import artifact_files
from components.push.object_releases import (
    MOST_ATTEMPTS,
    check_kept,
    is_complete,
    make_current,
    names,
    replace,
    written,
)
from components.push.references import pointer
from components.push.registry import Located
from components.push.release import (
    COMPRESSED_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    NO_FILES,
    Release,
    ReleaseManifest,
)
from components.push.release_files import (
    VERSION_PATTERN,
    check_describes,
    check_place,
    is_manifest,
    no_such_channel,
    place_of,
    pointed_version,
    pointer_to,
    read_channel,
    read_release,
)
from components.push.store_errors import explained
from components.spec.registry import GcsRegistry, S3Registry
from components.trust.rollout import ReleaseRef

_PROBE = ".edgemill-probe"
# No object has this ETag or generation.
_NO_VERSION = "1"
_CHANNEL = re.compile(r"[a-z][a-z0-9_-]*\.json")


class ObjectRegistry:
    """Releases in an object store. An address is the prefix of a release's keys, or a file below it."""

    def __init__(self, spec: S3Registry | GcsRegistry) -> None:
        self._spec = spec
        self._root = spec.root.rstrip("/")

    def check_writable(self) -> None:
        """Check access with a write whose condition can't be met, so that no permission to remove is needed."""
        with explained(self._root):
            bucket, key = bucket_of(self._root), f"{below(split(self._root)[2])}{_PROBE}"
            bucket.read_version(key)
            if bucket.write_if(key, b"", _NO_VERSION):
                with suppress(StorageError):
                    bucket.delete([key])
                raise RegistryError(
                    "this object store ignores conditions of writes, so two pushes could overwrite each other",
                    where=self._root,
                    bound="If-Match and If-None-Match, or ifGenerationMatch",
                    remedy="update the object store, or use another one",
                )

    def put(
        self,
        device_class: str,
        name: str,
        model: bytes,
        manifest: ReleaseManifest,
        files: Mapping[str, bytes] = NO_FILES,
    ) -> Release:
        """Create the objects of a release that don't exist, and verify the others."""
        check_describes(manifest, model, files)
        place = f"{place_of(device_class, name)}/{manifest.sha256[:16]}"
        folder = f"{self._root}/{place}"
        with explained(folder):
            self._check_conditions(f"{place_of(device_class, name)}/{self._spec.channel}.json")
            for _ in range(MOST_ATTEMPTS):
                release = written(folder, model, manifest, files)
                claims.settle(self._root, {place})
                if is_complete(release):
                    return release
        raise claims.collected(folder)

    def _check_conditions(self, pointer: str) -> None:
        """Before the first push to a channel, check that the store checks conditions. `run` and `init` always do."""
        if bucket_of(self._root).read_version(f"{below(split(self._root)[2])}{pointer}") is None:
            self.check_writable()

    def commit(self, release: Release) -> None:
        """Replace the channel's pointer, and then another manifest."""
        with explained(release.path):
            pointer = f"{_parent(release.path)}/{self._spec.channel}.json"
            replace(bucket_of(pointer), split(pointer)[2], pointer_to(release), pointer)
            check_kept(release)
            if make_current(release):
                # A collection spares its files only from now on.
                check_kept(release, artifact_files(release))

    def current(self, device_class: str, name: str) -> Release | None:
        """Read the channel's pointer, and verify its release."""
        folder = f"{self._root}/{place_of(device_class, name)}"
        pointer = f"{folder}/{self._spec.channel}.json"
        with explained(pointer):
            return _pointed_at(pointer)

    def versions(self, device_class: str, name: str) -> tuple[str, ...]:
        """List the releases whose manifests exist."""
        folder = f"{self._root}/{place_of(device_class, name)}"
        with explained(folder):
            found = (name.split("/") for name in names(folder))
            return tuple(
                parts[0]
                for parts in found
                if len(parts) == 2 and parts[1] == MANIFEST_NAME and VERSION_PATTERN.fullmatch(parts[0])
            )

    @staticmethod
    def resolve(target: str) -> Located:
        """Resolve an address. A release, or a file in one, is verified; any other object is a model."""
        target = target.rstrip("/")
        name = target.rpartition("/")[2]
        folder = _parent(target) if _is_file_of_release(target, name) else target
        if folder == target:
            if (model := bucket_of(target).read_version(split(target)[2])) is not None:
                parent = _parent(target)
                return Located(
                    address=parent,
                    sha256=sha256_of_bytes(model.content),
                    manifest_sha256=None,
                    manifest=f"{parent}/{MANIFEST_NAME}",
                )
            if next(names(folder), None) is None:
                raise MetadataError(
                    "there is no release or model here",
                    where=target,
                    remedy="specify a release's address or that of a .tflite file",
                )
        # Callers that know the manifest's digest compare it first, with a more informative error: see `edgemill
        # registry verify`.
        release, written = _find(folder, in_files=False)
        return Located(
            address=folder,
            sha256=release.manifest.sha256,
            manifest_sha256=sha256_of_bytes(written),
            manifest=f"{folder}/{MANIFEST_NAME}",
        )

    @staticmethod
    def point_at(address: str, channel: str) -> tuple[str | None, Release]:
        """Replace the channel's pointer."""
        address = address.rstrip("/")
        with explained(address):
            named_file = address.endswith((f"/{MODEL_NAME}", f"/{COMPRESSED_NAME}"))
            release, _ = _find(_parent(address) if named_file else address, in_files=False)
            folder = _parent(release.path)
            check_place(folder, release)
            bucket, pointer = bucket_of(folder), f"{folder}/{channel}.json"
            if not _CHANNEL.fullmatch(f"{channel}.json") or bucket.read_version(split(pointer)[2]) is None:
                found = [name.removesuffix(".json") for name in names(folder) if _CHANNEL.fullmatch(name)]
                raise no_such_channel(folder, channel, found)
            before = replace(bucket, split(pointer)[2], pointer_to(release), pointer)
            check_kept(release)
            return pointed_version(before), release

    @staticmethod
    def follow(address: str, channel: str, ref: ReleaseRef) -> None:
        """Create or replace the channel's pointer, which contains only the version."""
        place = f"{_parent(address)}/{channel}.json"
        with explained(place):
            replace(bucket_of(place), split(place)[2], pointer(ref), place)

    @classmethod
    def channels(cls, address: str) -> Iterator[tuple[str, Located | RegistryError]]:
        """Read each pointer next to a release."""
        folder = _parent(address.rstrip("/"))
        for name in [name for name in names(folder) if _CHANNEL.fullmatch(name)]:
            pointer = f"{folder}/{name}"
            try:
                found = _pointed_at(pointer)
                if found is not None:
                    yield pointer, cls.resolve(found.path)
            except RegistryError as error:
                yield pointer, error

    @staticmethod
    def exists(address: str) -> bool:
        """Return whether a release's manifest exists. If the store can't be read, return True."""
        try:
            return bucket_of(address).read_version(f"{split(address)[2]}/{MANIFEST_NAME}") is not None
        except StorageError:
            return True


def _find(folder: str, *, in_files: bool = True) -> tuple[Release, bytes]:
    """Read and verify a release. Also returns its stored manifest, in which manual edits may have changed
    whitespace."""
    bucket, key = bucket_of(folder), split(folder)[2]
    files: dict[str, bytes] = {}

    def read(name: str) -> bytes:
        files[name] = bucket.read(f"{key}/{name}", largest(name))
        return files[name]

    return read_release(folder, folder.rpartition("/")[2], read, in_files=in_files), files[MANIFEST_NAME]


def _pointed_at(pointer: str) -> Release | None:
    folder = _parent(pointer)
    return read_channel(
        pointer,
        lambda: bucket_of(pointer).read(split(pointer)[2], LONGEST_DOCUMENT),
        lambda version: _find(f"{folder}/{version}")[0],
    )


def _is_file_of_release(target: str, name: str) -> bool:
    """Return whether an address is the address of a release's model, compressed or not."""
    if name != MODEL_NAME:
        return name == COMPRESSED_NAME
    found = bucket_of(target).read_version(f"{split(_parent(target))[2]}/{MANIFEST_NAME}")
    return found is not None and is_manifest(found.content)


def _parent(address: str) -> str:
    return address.rpartition("/")[0]

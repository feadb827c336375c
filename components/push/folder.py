"""A registry in a folder. An address is the path of a release's folder or of a model file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from components.core.errors import MetadataError, RegistryError
from components.core.files import is_file, is_folder, sha256_of
from components.push import folder_releases
from components.push.references import pointer_at
from components.push.registry import Located
from components.push.release import MANIFEST_NAME, NO_FILES, Release, ReleaseManifest
from components.spec.registry import LocalRegistry
from components.trust.rollout import ReleaseRef


class FolderRegistry:
    """Releases in a folder on this machine."""

    def __init__(self, spec: LocalRegistry) -> None:
        self._spec = spec

    def check_writable(self) -> None:
        """Check that the folder is writable."""
        folder_releases.check_writable(self._spec)

    def put(
        self,
        device_class: str,
        name: str,
        model: bytes,
        manifest: ReleaseManifest,
        files: Mapping[str, bytes] = NO_FILES,
    ) -> Release:
        """Write a release. Its path is absolute."""
        release = folder_releases.put(self._spec, device_class, name, model, manifest, files)
        return release.model_copy(update={"path": str(Path(release.path).resolve())})

    def commit(self, release: Release) -> None:
        """Replace the channel's pointer."""
        folder_releases.commit(self._spec, release)

    def current(self, device_class: str, name: str) -> Release | None:
        """Read the channel's pointer, and verify its release."""
        return folder_releases.current(Path(self._spec.root).resolve(), device_class, name, self._spec.channel)

    def versions(self, device_class: str, name: str) -> tuple[str, ...]:
        """List the folders of releases."""
        return folder_releases.versions(Path(self._spec.root), device_class, name)

    @staticmethod
    def resolve(target: str) -> Located:
        """Resolve a path. A release's folder, or a file in one, is verified; any other file is a model."""
        path = Path(target)
        folder = Path(os.path.realpath(path if is_folder(path) else path.parent))
        manifest = folder / MANIFEST_NAME
        if is_folder(path) or (is_file(path) and folder_releases.is_file_of_release(path)):
            # Callers that know the manifest's digest compare it first, with a more informative error: see `edgemill
            # registry verify`.
            digest = folder_releases.find_release(path, in_files=False).manifest.sha256
            return Located(
                address=str(folder), sha256=digest, manifest_sha256=sha256_of(manifest), manifest=str(manifest)
            )
        if is_file(path):
            return Located(address=str(folder), sha256=sha256_of(path), manifest_sha256=None, manifest=str(manifest))
        raise MetadataError(
            "there is no release or model here", where=target, remedy="specify a release folder or a .tflite file"
        )

    @staticmethod
    def point_at(address: str, channel: str) -> tuple[str | None, Release]:
        """Replace the channel's pointer."""
        return folder_releases.point_at(Path(address), channel)

    @staticmethod
    def follow(address: str, channel: str, ref: ReleaseRef) -> None:
        """Create or replace the channel's pointer, which contains only the version."""
        folder_releases.follow(Path(address).parent / f"{channel}.json", pointer_at(ref))

    @classmethod
    def channels(cls, address: str) -> Iterator[tuple[str, Located | RegistryError]]:
        """Read each pointer next to a release."""
        for path in folder_releases.pointers(Path(address).parent):
            try:
                yield str(path), cls.resolve(folder_releases.pointed_at(path).path)
            except RegistryError as error:
                yield str(path), error

    @staticmethod
    def exists(address: str) -> bool:
        """Return whether a release exists. If its parent folder is missing, it may not be mounted, so return True."""
        return Path(address).exists() or not Path(address).parent.exists()

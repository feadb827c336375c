"""Registries of OCI artifacts, through the plain distribution API.

    <root>/<device class>/<name>:<version>     the tag of a release: model, compressed form, manifest, other files
    <root>/<device class>/<name>:<version>-<digest>    the tag of one artifact
    <root>/<device class>/<name>:<channel>     the tag of a channel: the same artifact

Blobs and artifacts are addressed by their digest, so no push changes those of another. A tag is replaced in one step,
but without a condition: the last writer wins. So each artifact first gets a tag that contains its own digest, which
nobody writes with different content. The versions are listed from these tags, and no artifact is lost when several
pushes write the same version. The tag of a channel comes last. It names the release of the push that came last
(decisions 0046 and 0054).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping

from components.core.errors import MetadataError, RegistryError, SpecError, StorageError
from components.core.files import sha256_of_bytes
from components.core.values import serialized
from components.object_store.oci.repository import Repository
from components.push import claims
from components.push.artifact import ARTIFACT_FORM, artifact_of, files_in
from components.push.oci.reading import (
    MOST_ATTEMPTS,
    address_in,
    artifact_with,
    channels_of,
    make_current,
    own_tag,
    read_artifact,
    replace_tag,
    repository_at,
    tagged,
    version_in,
    versions_in,
)
from components.push.references import manifest_digest
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
    check_describes,
    check_place,
    compressed_form,
    no_such_channel,
    place_of,
    root_and_place,
)
from components.push.store_errors import explained
from components.spec.registry import OCI_NAME, OciRegistry
from components.trust.rollout import ReleaseRef

_NEEDED = "permission to pull and push in the repositories below the registry's root"
_PROBE = "edgemill-probe"
_PREFIX = OciRegistry.address_prefix
_LONGEST_NAME = 255


class OciBackend:
    """Releases in an OCI registry. An address is `oci://HOST/REPOSITORY/VERSION`, or a file below it."""

    def __init__(self, spec: OciRegistry) -> None:
        self._spec = spec
        self._root = spec.root.rstrip("/")

    def check_writable(self) -> None:
        """Check access with an upload that is canceled, so that no permission to remove is needed."""
        with _explained(self._root):
            repository_at(f"{self._root}/{_PROBE}").check_writable()

    def put(
        self,
        device_class: str,
        name: str,
        model: bytes,
        manifest: ReleaseManifest,
        files: Mapping[str, bytes] = NO_FILES,
    ) -> Release:
        """Upload the blobs that don't exist, and then tag the artifact with its version. Read all of it back."""
        folder = self._folder(device_class, name)
        check_describes(manifest, model, files)
        version = manifest.sha256[:16]
        compressed, form = compressed_form(model)
        manifest = manifest.model_copy(update={"compressed": form, "artifact": ARTIFACT_FORM})
        blobs = (model, compressed, serialized(manifest), *files.values())
        address = f"{folder}/{version}"
        config, artifact = artifact_of(Release(version=version, path=address, manifest=manifest))
        with _explained(address):
            repository = repository_at(folder)
            for _ in range(MOST_ATTEMPTS):
                own, current = _tagged_as(repository, version, artifact)
                if own != artifact or current is None:
                    for content in (*blobs, config):
                        repository.upload(content)
                    # Nobody writes a different artifact there, so nothing is lost if another push is faster.
                    replace_tag(repository, own_tag(version, artifact), artifact, address)
                    if current is None:
                        repository.tag(version, artifact, None)
                # A registry doesn't verify the content that it stored earlier under a digest.
                release = read_artifact(repository, artifact, address)[0]
                claims.settle(self._root, {f"{place_of(device_class, name)}/{version}"})
                own, current = _tagged_as(repository, version, artifact)
                # Another push of the same model can have the version now.
                if own == artifact and current is not None:
                    return release
        raise claims.collected(address)

    def commit(self, release: Release) -> None:
        """Point the channel's tag to the artifact of a release, and then the tag of its version."""
        folder = _parent(release.path)
        with _explained(release.path):
            _, artifact = artifact_of(release)
            replace_tag(repository_at(folder), self._spec.channel, artifact, f"{folder}:{self._spec.channel}")
            _check_kept(release.path, artifact, self._spec.channel)
            make_current(repository_at(folder), release.version, artifact, release.path)

    def current(self, device_class: str, name: str) -> Release | None:
        """Read the artifact that the channel's tag names, and verify it."""
        folder = self._folder(device_class, name)
        with _explained(folder):
            return _pointed_at(folder, self._spec.channel)

    def versions(self, device_class: str, name: str) -> tuple[str, ...]:
        """List the versions of all artifacts, which also have a tag that no other artifact gets."""
        folder = self._folder(device_class, name)
        with _explained(folder):
            return tuple(sorted(versions_in(repository_at(folder).tags())))

    @staticmethod
    def resolve(target: str) -> Located:
        """Resolve the address of a release, or of a file of one."""
        target = target.rstrip("/")
        folder = _parent(target) if target.endswith((f"/{MODEL_NAME}", f"/{COMPRESSED_NAME}")) else target
        found = _found(folder)
        if found is None:
            raise MetadataError(
                "there is no release or model here",
                where=target,
                remedy="specify a release's address, oci://HOST/REPOSITORY/VERSION, or that of its model.tflite",
            )
        return _located(found[0], found[1][MANIFEST_NAME])

    @staticmethod
    def point_at(address: str, channel: str) -> tuple[str | None, Release]:
        """Replace the channel's tag."""
        address = address.rstrip("/")
        if address.endswith((f"/{MODEL_NAME}", f"/{COMPRESSED_NAME}")):
            address = _parent(address)
        with _explained(address):
            found = _found(address)
            if found is None:
                raise RegistryError(
                    "this is not a complete release: there is no such tag",
                    where=address,
                    bound="oci://HOST/REPOSITORY/VERSION",
                    remedy="specify a release's address",
                )
            release, folder = found[0], _parent(address)
            check_place(folder, release)
            repository = repository_at(folder)
            channels = channels_of(repository)
            if channel not in channels:
                raise no_such_channel(folder, channel, channels)
            before = replace_tag(repository, channel, found[2], f"{folder}:{channel}")
            _check_kept(release.path, found[2], channel)
            return None if before is None else version_in(before), release

    @staticmethod
    def follow(address: str, channel: str, ref: ReleaseRef) -> None:
        """Create or replace the channel's tag, which then names the artifact that is signed."""
        folder, manifest = _parent(address), manifest_digest(ref)
        with _explained(address):
            repository = repository_at(folder)
            artifact = artifact_with(repository, ref.version, manifest or None, folder)
            if artifact is None or files_in(artifact, address).get(MODEL_NAME) != f"sha256:{ref.sha256}":
                raise RegistryError(
                    "the signed release is in the wrong location in the registry",
                    where=address,
                    bound=f"an artifact with the model sha256:{ref.sha256}"
                    + (f" and the manifest sha256:{manifest}" if manifest else ""),
                    measured="another artifact" if artifact else "no such tag",
                    remedy="restore it: `edgemill registry repair --from` a mirror",
                )
            replace_tag(repository, channel, artifact, f"{folder}:{channel}")

    @classmethod
    def channels(cls, address: str) -> Iterator[tuple[str, Located | RegistryError]]:
        """Read each tag of a channel in the repository of a release."""
        folder = _parent(address.rstrip("/"))
        repository = repository_at(folder)
        for channel in channels_of(repository):
            try:
                artifact = repository.manifest(channel)
                if artifact is not None:
                    place = f"{folder}:{channel}"
                    release, files = read_artifact(repository, artifact, address_in(folder, artifact, place))
                    check_place(folder, release)
                    yield place, _located(release, files[MANIFEST_NAME])
            except RegistryError as error:
                yield f"{folder}:{channel}", error

    @staticmethod
    def exists(address: str) -> bool:
        """Return whether the tag of a release exists. If the registry can't be read, return True."""
        try:
            return tagged(repository_at(_parent(address)), address.rpartition("/")[2]) is not None
        except StorageError:
            return True

    def _folder(self, device_class: str, name: str) -> str:
        place = place_of(device_class, name)
        for what, value in (("device class", device_class), ("name", name)):
            if not re.fullmatch(OCI_NAME, value):
                raise SpecError(
                    f"the {what} cannot be part of a repository's name in an OCI registry",
                    bound="lowercase letters and digits, separated by hyphens, one or two underscores, or a period",
                    measured=repr(value),
                    remedy="rename it",
                )
        folder = f"{self._root}/{place}"
        if (length := len(folder.removeprefix(_PREFIX))) > _LONGEST_NAME:
            raise SpecError(
                "the name of the repository is too long for an OCI registry",
                where=folder,
                bound=f"at most {_LONGEST_NAME} characters with the host",
                measured=length,
                remedy="shorten the root of the registry or the pipeline's name",
            )
        return folder


_explained = functools.partial(explained, needed=_NEEDED)


def _tagged_as(repository: Repository, version: str, artifact: bytes) -> tuple[bytes | None, bytes | None]:
    """Return the artifacts that an artifact's own tag and its version's tag name.

    A registry removes an artifact first, and then its tags, including tags that a push has just written again. So an
    artifact can exist without tags.
    """
    return repository.manifest(own_tag(version, artifact)), repository.manifest(version)


def _check_kept(address: str, artifact: bytes, channel: str) -> None:
    """Raise a CollectedError if a collection removed a release, or its channel, before the channel named it."""
    root, place = root_and_place(address)
    claims.settle(root, {place})
    repository, version = repository_at(_parent(address)), address.rpartition("/")[2]
    # Earlier versions of Edgemill wrote no tags of artifacts.
    if artifact not in _tagged_as(repository, version, artifact) or repository.manifest(channel) is None:
        raise claims.collected(address)


def _found(address: str) -> tuple[Release, dict[str, bytes], bytes] | None:
    """Read and verify a release, its files, and its artifact; None if it has no tag."""
    repository = repository_at(_parent(address))
    artifact = tagged(repository, address.rpartition("/")[2])
    return None if artifact is None else (*read_artifact(repository, artifact, address), artifact)


def _located(release: Release, written: bytes) -> Located:
    return Located(
        address=release.path,
        sha256=release.manifest.sha256,
        manifest_sha256=sha256_of_bytes(written),
        manifest=f"{release.path}/{MANIFEST_NAME}",
    )


def _pointed_at(folder: str, channel: str) -> Release | None:
    repository = repository_at(folder)
    artifact = repository.manifest(channel)
    if artifact is None:
        return None
    release, _ = read_artifact(repository, artifact, address_in(folder, artifact, f"{folder}:{channel}"))
    check_place(folder, release)
    return release


def _parent(address: str) -> str:
    return address.rpartition("/")[0]

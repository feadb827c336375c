"""The kind of registry that holds OCI artifacts, through the plain distribution API.

    <root>/<device class>/<name>:<version>     the tag of a release: model, compressed form, manifest, other files
    <root>/<device class>/<name>:<channel>     the tag of a channel: the same artifact

Blobs and artifacts are addressed by their digest, so that no push changes those of another. A tag is replaced in one
step, but without a condition: who writes last wins. The tag of a version always names an artifact of the same model, so
no release is lost when several pushes write it. The tag of a channel comes last. It names the release of the push that
came last, and all others stay under their versions (decision 0046).
"""

from __future__ import annotations

import functools
import random
import re
import time
from collections.abc import Iterator, Mapping

from components.core.errors import MetadataError, RegistryError, SpecError, StorageError
from components.core.files import sha256_of_bytes
from components.object_store.oci.repository import Repository, digest_of
from components.push.oci.artifact import artifact_of, files_in
from components.push.registry import Located
from components.push.release import (
    COMPRESSED_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    NO_FILES,
    Release,
    ReleaseManifest,
    serialized,
)
from components.push.release_files import (
    VERSION_PATTERN,
    check_describes,
    check_place,
    compressed_form,
    no_such_channel,
    place_of,
    read_release,
)
from components.push.store_errors import explained
from components.spec.registry import OCI_NAME, OciRegistry

_NEEDED = "permission to pull and push in the repositories below the registry's root"
_PROBE = "edgemill-probe"
_PREFIX = OciRegistry.address_prefix
_CHANNEL = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_LONGEST_NAME = 255
# Each attempt that fails is another push that succeeded.
_MOST_ATTEMPTS = 50
_LONGEST_PAUSE_SECONDS = 0.2


class OciBackend:
    """Releases in an OCI registry. An address is `oci://HOST/REPOSITORY/VERSION`, or that of a file below it."""

    def __init__(self, spec: OciRegistry) -> None:
        self._spec = spec
        self._root = spec.root.rstrip("/")

    def check_writable(self) -> None:
        """Check access with an upload that is canceled, so that it needs no permission to remove anything."""
        with _explained(self._root):
            _repository(f"{self._root}/{_PROBE}").check_writable()

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
        manifest = manifest.model_copy(update={"compressed": form})
        blobs = (model, compressed, serialized(manifest), *files.values())
        address = f"{folder}/{version}"
        config, artifact = artifact_of(Release(version=version, path=address, manifest=manifest))
        with _explained(address):
            repository = _repository(folder)
            if repository.manifest(version) != artifact:
                for content in (*blobs, config):
                    repository.upload(content)
                _replace(repository, version, artifact, address)
            # A registry doesn't verify what it stored earlier under a digest.
            return _read(repository, artifact, address)[0]

    def commit(self, release: Release) -> None:
        """Point the channel's tag at the artifact of a release."""
        folder = _parent(release.path)
        with _explained(release.path):
            _, artifact = artifact_of(release)
            _replace(_repository(folder), self._spec.channel, artifact, f"{folder}:{self._spec.channel}")

    def current(self, device_class: str, name: str) -> Release | None:
        """Read the artifact that the channel's tag names, and verify it."""
        folder = self._folder(device_class, name)
        with _explained(folder):
            return _pointed_at(folder, self._spec.channel)

    def versions(self, device_class: str, name: str) -> tuple[str, ...]:
        """List the tags of versions."""
        folder = self._folder(device_class, name)
        with _explained(folder):
            return tuple(tag for tag in _repository(folder).tags() if VERSION_PATTERN.fullmatch(tag))

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
                remedy="name a release's address, oci://HOST/REPOSITORY/VERSION, or that of its model.tflite",
            )
        return _located(*found[:2])

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
                    remedy="name a release's address",
                )
            release, folder = found[0], _parent(address)
            check_place(folder, release)
            repository = _repository(folder)
            channels = _channels_of(repository)
            if channel not in channels:
                raise no_such_channel(folder, channel, channels)
            before = _replace(repository, channel, found[2], f"{folder}:{channel}")
            return None if before is None else _version_in(before), release

    @classmethod
    def channels(cls, address: str) -> Iterator[tuple[str, Located | RegistryError]]:
        """Read each tag of a channel in the repository of a release."""
        folder = _parent(address.rstrip("/"))
        repository = _repository(folder)
        for channel in _channels_of(repository):
            try:
                artifact = repository.manifest(channel)
                if artifact is not None:
                    place = f"{folder}:{channel}"
                    release, written = _read(repository, artifact, _address_in(folder, artifact, place))
                    check_place(folder, release)
                    yield place, _located(release, written)
            except RegistryError as error:
                yield f"{folder}:{channel}", error

    @staticmethod
    def exists(address: str) -> bool:
        """Return whether the tag of a release exists. If the registry can't be read, return True."""
        try:
            return _repository(_parent(address)).manifest(address.rpartition("/")[2]) is not None
        except StorageError:
            return True

    def _folder(self, device_class: str, name: str) -> str:
        place = place_of(device_class, name)
        for what, value in (("device class", device_class), ("name", name)):
            if not re.fullmatch(OCI_NAME, value):
                raise SpecError(
                    f"the {what} cannot be part of a repository's name in an OCI registry",
                    bound="lowercase letters and digits, divided by hyphens, one or two underscores, or a period",
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


def _repository(folder: str) -> Repository:
    host, _, name = folder.removeprefix(_PREFIX).partition("/")
    return Repository(host, name)


def _replace(repository: Repository, tag: str, artifact: bytes, place: str) -> bytes | None:
    """Point a tag at an artifact if it names another one, and return what it named before; None if there was none."""
    for _ in range(_MOST_ATTEMPTS):
        before = repository.manifest(tag)
        if before == artifact or repository.tag(tag, artifact, before):
            return before
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
    raise RegistryError(
        "the registry refuses to replace this tag, or other pushes change it all the time",
        where=place,
        bound=f"one write in {_MOST_ATTEMPTS} attempts",
        remedy="allow the registry to replace tags, or run again when fewer pipelines push to this channel",
    )


def _found(address: str) -> tuple[Release, bytes, bytes] | None:
    """Read and verify a release, its own manifest, and its artifact; None if its tag doesn't exist."""
    repository = _repository(_parent(address))
    tag = address.rpartition("/")[2]
    artifact = repository.manifest(tag) if VERSION_PATTERN.fullmatch(tag) else None
    return None if artifact is None else (*_read(repository, artifact, address), artifact)


def _read(repository: Repository, artifact: bytes, address: str) -> tuple[Release, bytes]:
    digests = files_in(artifact, address)
    read: dict[str, bytes] = {}

    def file(name: str) -> bytes:
        if name not in digests:
            raise FileNotFoundError(f"there is no {name} in the artifact")
        try:
            content = repository.blob(digests[name])
        except FileNotFoundError:
            raise FileNotFoundError(f"the content of {name} is missing: {digests[name]}") from None
        # The release's own digests cover the others, and say more.
        if name == MANIFEST_NAME and digest_of(content) != digests[name]:
            raise RegistryError(
                "the release is corrupt: its manifest is not the one that was pushed",
                where=f"{address}/{name}",
                bound=digests[name],
                measured=digest_of(content),
                remedy="find out what changed it, remove the release, and push again",
            )
        read[name] = content
        return content

    return read_release(address, address.rpartition("/")[2], file), read[MANIFEST_NAME]


def _located(release: Release, written: bytes) -> Located:
    return Located(
        address=release.path,
        sha256=release.manifest.sha256,
        manifest_sha256=sha256_of_bytes(written),
        manifest=f"{release.path}/{MANIFEST_NAME}",
    )


def _pointed_at(folder: str, channel: str) -> Release | None:
    repository = _repository(folder)
    artifact = repository.manifest(channel)
    if artifact is None:
        return None
    release, _ = _read(repository, artifact, _address_in(folder, artifact, f"{folder}:{channel}"))
    check_place(folder, release)
    return release


def _address_in(folder: str, artifact: bytes, place: str) -> str:
    """Return the address of the release that an artifact is, by the digest of its model."""
    model = files_in(artifact, place).get(MODEL_NAME, "")
    return f"{folder}/{model.removeprefix('sha256:')[:16]}"


def _version_in(artifact: bytes) -> str | None:
    try:
        return _address_in("", artifact, "").strip("/") or None
    except RegistryError:
        return None


def _channels_of(repository: Repository) -> list[str]:
    return [tag for tag in repository.tags() if _CHANNEL.fullmatch(tag) and not VERSION_PATTERN.fullmatch(tag)]


def _parent(address: str) -> str:
    return address.rpartition("/")[0]

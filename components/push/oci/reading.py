"""Reading and tagging the artifacts of releases in an OCI registry."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable

from components.core.errors import RegistryError
from components.object_store.limits import largest
from components.object_store.oci.repository import Repository, digest_of
from components.push.artifact import artifact_of, files_in, other_artifact
from components.push.beside import host_and_name
from components.push.release import MANIFEST_NAME, MODEL_NAME, Release
from components.push.release_files import VERSION_PATTERN, read_release

# The tag of one artifact: its version, and the beginning of its own digest.
OWN_TAG = re.compile(r"([0-9a-f]{16})-[0-9a-f]{16}")
_CHANNEL = re.compile(r"[a-z][a-z0-9_-]{0,47}")
# Each failed attempt means that another push succeeded.
MOST_ATTEMPTS = 50
_LONGEST_PAUSE_SECONDS = 0.2


def repository_at(folder: str) -> Repository:
    """Return the repository at an address."""
    return Repository(*host_and_name(folder))


def replace_tag(repository: Repository, tag: str, artifact: bytes, place: str) -> bytes | None:
    """Point a tag to an artifact if it names a different one, and return the one before; None if there was none."""
    for _ in range(MOST_ATTEMPTS):
        before = repository.manifest(tag)
        if before == artifact or repository.tag(tag, artifact, before):
            return before
        time.sleep(random.uniform(0, _LONGEST_PAUSE_SECONDS))
    raise RegistryError(
        "the registry refuses to replace this tag, or other pushes keep changing it",
        where=place,
        bound=f"one write in {MOST_ATTEMPTS} attempts",
        remedy="allow the registry to replace tags, or run again when fewer pipelines push to this channel",
    )


def make_current(repository: Repository, version: str, artifact: bytes, place: str) -> None:
    """Point the tag of a version to an artifact, after the one before has its own tag, because it can be signed."""
    before = repository.manifest(version)
    if before is not None and before != artifact and version_in(before) == version:
        # Earlier versions of Edgemill wrote no tags of artifacts.
        replace_tag(repository, own_tag(version, before), before, place)
    replace_tag(repository, version, artifact, place)


def read_artifact(repository: Repository, artifact: bytes, address: str) -> tuple[Release, dict[str, bytes]]:
    """Read and verify the release in an artifact, and all its files by their paths.

    Raises:
        RegistryError: The artifact isn't a release, or a file is missing or damaged.
    """
    digests = files_in(artifact, address)
    read: dict[str, bytes] = {}

    def file(name: str) -> bytes:
        if name not in digests:
            raise FileNotFoundError(f"there is no {name} in the artifact")
        try:
            content = repository.blob(digests[name], largest(name))
        except FileNotFoundError:
            raise FileNotFoundError(f"the content of {name} is missing: {digests[name]}") from None
        # The release's own digests cover the others, and give better errors.
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

    release = read_release(address, address.rpartition("/")[2], file, in_files=False)
    if release.manifest.artifact:
        _, expected = artifact_of(release, read[MANIFEST_NAME])
        if artifact != expected:
            raise other_artifact(address, digest_of(expected), digest_of(artifact))
    return release, read


def address_in(folder: str, artifact: bytes, place: str) -> str:
    """Return the address of the release in an artifact, by the digest of its model."""
    model = files_in(artifact, place).get(MODEL_NAME, "")
    return f"{folder}/{model.removeprefix('sha256:')[:16]}"


def version_in(artifact: bytes) -> str | None:
    """Return the version of the release in an artifact; None if it isn't a release."""
    try:
        return address_in("", artifact, "").strip("/") or None
    except RegistryError:
        return None


def channels_of(repository: Repository) -> list[str]:
    """List the tags of channels."""
    return [tag for tag in repository.tags() if is_channel(tag)]


def is_channel(tag: str) -> bool:
    """Return whether a tag is a channel's tag."""
    return bool(_CHANNEL.fullmatch(tag)) and not VERSION_PATTERN.fullmatch(tag) and not OWN_TAG.fullmatch(tag)


def own_tag(version: str, artifact: bytes) -> str:
    """Return the tag that only this artifact gets."""
    return f"{version}-{digest_of(artifact).removeprefix('sha256:')[:16]}"


def versions_in(tags: Iterable[str]) -> dict[str, list[str]]:
    """Return each version that has a tag, with all its tags. The version's own tag comes first."""
    found: dict[str, list[str]] = {}
    for tag in sorted(tags):
        if VERSION_PATTERN.fullmatch(tag) or OWN_TAG.fullmatch(tag):
            found.setdefault(tag[:16], []).append(tag)
    return found


def artifact_with(repository: Repository, version: str, manifest: str | None, place: str) -> bytes | None:
    """Return the artifact of a version that has a manifest, by its digest, or the current one; None without it.

    `place` is the repository, for messages.
    """
    current = tagged(repository, version)
    if manifest is None or manifest_in(current, place) == manifest:
        return current
    own = (tag for tag in versions_in(repository.tags()).get(version, []) if OWN_TAG.fullmatch(tag))
    artifacts = (repository.manifest(tag) for tag in own)
    return next((one for one in artifacts if manifest_in(one, place) == manifest), None)


def manifest_in(artifact: bytes | None, place: str) -> str | None:
    """Return the digest of the release's manifest in an artifact. Raises a RegistryError if it isn't a release."""
    digest = None if artifact is None else files_in(artifact, place).get(MANIFEST_NAME)
    return None if digest is None else digest.removeprefix("sha256:")


def tagged(repository: Repository, version: str) -> bytes | None:
    """Return the artifact of a version, even if only the tag of the artifact itself exists, or None."""
    if not VERSION_PATTERN.fullmatch(version):
        return None
    if (artifact := repository.manifest(version)) is not None:
        return artifact
    tags = versions_in(repository.tags()).get(version, [])
    return next((found for tag in tags if (found := repository.manifest(tag)) is not None), None)

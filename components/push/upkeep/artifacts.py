"""The contents of a registry whose releases are OCI artifacts.

Such a registry has no times, and it doesn't list artifacts without a tag. Its own garbage collection removes those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.object_store.limits import largest
from components.object_store.oci.repository import Repository, digest_of, repositories
from components.push.artifact import artifact_of, config_in, files_in
from components.push.beside import OWN_REPOSITORY, host_and_name
from components.push.oci.reading import (
    OWN_TAG,
    address_in,
    artifact_with,
    is_channel,
    make_current,
    manifest_in,
    own_tag,
    read_artifact,
    replace_tag,
    tagged,
    version_in,
    versions_in,
)
from components.push.release import MANIFEST_NAME, Release
from components.push.release_files import PART_PATTERN, VERSION_PATTERN, check_place
from components.push.store_errors import explained
from components.push.upkeep.holdings import Copy, Leftover, Stored, not_signed


class OciHoldings:
    """See `Holdings`."""

    def __init__(self, root: str, chosen: tuple[str, ...] = ()) -> None:
        self.root, self._chosen = root, chosen
        self._host, self._name = host_and_name(root)
        self._tags: dict[str, tuple[str, ...]] = {}
        self._strangers: list[str] = []

    def places(self) -> tuple[str, ...]:
        """See `Holdings`."""
        self._tags, self._strangers = {}, []
        with explained(self.root):
            listed = self._chosen or [
                name.removeprefix(f"{self._name}/") for name in repositories(self._host, self._name)
            ]
        for place in listed:
            if place.startswith((OWN_REPOSITORY, "edgemill-probe")):
                continue
            if len(parts := place.split("/")) == 2 and all(map(PART_PATTERN.fullmatch, parts)):
                self.again(place)
            else:
                self._strangers.append(place)
        return tuple(sorted(place for place, tags in self._tags.items() if tags))

    def versions(self, place: str) -> dict[str, Stored]:
        """See `Holdings`."""
        return {version: Stored(True, None, None) for version in versions_in(self._tags.get(place, ()))}

    def again(self, place: str) -> None:
        """See `Holdings`."""
        with explained(self.root):
            self._tags[place] = self._repository(place).tags()

    def manifest(self, place: str, version: str, sha256: str | None = None) -> bytes | None:
        """See `Holdings`."""
        with explained(self.root):
            artifact = self._artifact(place, version, sha256)
            digest = self._manifest_in(artifact, place)
            if digest is None:
                return None
            with suppress(FileNotFoundError):
                return self._repository(place).blob(f"sha256:{digest}", largest(MANIFEST_NAME))
            return None

    def contents(self, place: str, version: str, names: Iterable[str]) -> dict[str, bytes]:
        """See `Holdings`."""
        repository, found = self._repository(place), dict[str, bytes]()
        with explained(f"{self.root}/{place}/{version}"):
            artifact = tagged(repository, version)
            digests = files_in(artifact, f"{self.root}/{place}/{version}") if artifact is not None else {}
            for name in names:
                with suppress(FileNotFoundError, KeyError):
                    found[name] = repository.blob(digests[name], largest(name))
        return found

    def oci_manifests(self, place: str, version: str) -> None:
        """See `Holdings`."""

    def read(self, place: str, version: str, manifest: str | None = None) -> Copy:
        """See `Holdings`. Also verifies the configuration, and every tag of the version."""
        repository, address = self._repository(place), f"{self.root}/{place}/{version}"
        with explained(address):
            artifact = tagged(repository, version)
            if artifact is None:
                raise RegistryError(
                    "this is not a complete release: there is no such tag", where=address, remedy="push it again"
                )
            named = self._artifact(place, version, manifest)
            if named is None:
                there = self._manifest_in(artifact, place) or "no such file"
                raise not_signed(f"{address}/{MANIFEST_NAME}", filter(None, [manifest]), there)
            copy = self._verified(repository, place, named, address)
            for tag in versions_in(self._tags.get(place, ())).get(version, []):
                other = repository.manifest(tag)
                if other is None or (OWN_TAG.fullmatch(tag) and own_tag(version, other) != tag):
                    raise RegistryError(
                        "this tag does not name its artifact",
                        where=f"{self.root}/{place}:{tag}",
                        bound="an artifact whose digest the tag contains",
                        measured="no artifact" if other is None else digest_of(other),
                        remedy="find out who wrote the tag, remove it, and push again",
                    )
                if other != named:
                    self._verified(repository, place, other, address)
        return copy

    def channels(self, place: str) -> dict[str, Release | RegistryError]:
        """See `Holdings`."""
        found: dict[str, Release | RegistryError] = {}
        repository, folder = self._repository(place), f"{self.root}/{place}"
        for channel in filter(is_channel, self._tags.get(place, ())):
            try:
                with explained(f"{folder}:{channel}"):
                    artifact = repository.manifest(channel)
                    if artifact is None:
                        continue
                    release, _ = read_artifact(repository, artifact, address_in(folder, artifact, folder))
                check_place(folder, release)
                found[channel] = release
            except RegistryError as error:
                found[channel] = error
        return found

    def named(self, place: str) -> dict[str, str | None]:
        """See `Holdings`."""
        found: dict[str, str | None] = {}
        with explained(f"{self.root}/{place}"):
            for channel in filter(is_channel, self._tags.get(place, ())):
                if (artifact := self._repository(place).manifest(channel)) is not None:
                    found[channel] = version_in(artifact)
        return found

    def pointed(self, place: str, channel: str) -> str | None:
        """See `Holdings`."""
        with explained(f"{self.root}/{place}:{channel}"):
            return self._manifest_in(self._repository(place).manifest(channel), place)

    def holds(self, place: str, version: str, written: bytes) -> bool:
        """See `Holdings`."""
        if version not in self._tags.get(place, ()):
            return False
        with explained(self.root):
            return self._artifact(place, version, sha256_of_bytes(written)) is not None

    def write(self, place: str, copy: Copy, *, current: bool = True) -> None:
        """See `Holdings`. A copied artifact is the same in another OCI registry, with the same digest."""
        repository, address = self._repository(place), f"{self.root}/{place}/{copy.release.version}"
        config, artifact = _artifact(copy)
        with explained(address):
            for content in (*copy.files.values(), config):
                repository.upload(content)
            replace_tag(repository, own_tag(copy.release.version, artifact), artifact, address)
            if current:
                make_current(repository, copy.release.version, artifact, address)
            read_artifact(repository, artifact, address)

    def restore(self, place: str, version: str, name: str, content: bytes) -> None:
        """See `Holdings`. Registries don't replace existing blobs, so damaged blobs must be removed there."""
        repository, where = self._repository(place), f"{self.root}/{place}/{version}/{name}"
        with explained(where):
            digest = repository.upload(content)
            try:
                found = digest_of(repository.blob(digest, largest(name)))
            except FileNotFoundError:
                found = "nothing"
        if found != digest:
            raise RegistryError(
                "the registry keeps the damaged blob, because it has one with this digest",
                where=where,
                bound=digest,
                measured=found,
                remedy="remove the blob on the registry's own storage, then repair again",
            )

    def point(self, place: str, channel: str, release: Release) -> bool:
        """See `Holdings`."""
        repository, folder = self._repository(place), f"{self.root}/{place}"
        with explained(f"{folder}:{channel}"):
            artifact = self._artifact(place, release.version, release.manifest_sha256)
            # The digest of a manifest that somebody reformatted differs.
            artifact = artifact or tagged(repository, release.version)
            if artifact is None:
                raise RegistryError("there is no such release", where=folder, remedy="run again")
            return replace_tag(repository, channel, artifact, f"{folder}:{channel}") != artifact

    def remove(self, place: str, version: str) -> None:
        """See `Holdings`."""
        repository = self._repository(place)
        with explained(f"{self.root}/{place}/{version}"):
            for tag in reversed(versions_in(repository.tags()).get(version, [])):
                if (artifact := repository.manifest(tag)) is not None:
                    repository.remove(digest_of(artifact))

    def leftovers(self, signed: Mapping[str, Collection[str]]) -> Iterator[Leftover]:
        """See `Holdings`: artifacts that another one of the same model has replaced."""
        for place in self.places():
            repository = self._repository(place)
            for version, tags in versions_in(self._tags[place]).items():
                with explained(f"{self.root}/{place}"):
                    current = tagged(repository, version)
                    named = {repository.manifest(one) for one in filter(is_channel, self._tags[place])}
                    named |= {self._artifact(place, version, one) for one in signed.get(f"{place}/{version}", ())}
                for tag in (one for one in tags if OWN_TAG.fullmatch(one)):
                    if current is not None and own_tag(version, current) != tag:
                        if any(artifact and own_tag(version, artifact) == tag for artifact in named):
                            continue
                        here = f"{place}/{version}"
                        yield Leftover("a replaced artifact", f"{place}:{tag}", here, (tag,), None, None)

    def remove_leftover(self, leftover: Leftover) -> None:
        """See `Holdings`."""
        repository = self._repository(leftover.where.rpartition(":")[0])
        with explained(f"{self.root}/{leftover.where}"):
            for tag in leftover.names:
                if (artifact := repository.manifest(tag)) is not None:
                    repository.remove(digest_of(artifact))

    def strangers(self) -> tuple[str, ...]:
        """See `Holdings`."""
        tags = [
            f"{place}:{tag}"
            for place, tags in self._tags.items()
            for tag in tags
            if not (is_channel(tag) or VERSION_PATTERN.fullmatch(tag) or OWN_TAG.fullmatch(tag))
        ]
        return tuple(self._strangers + tags)

    def _artifact(self, place: str, version: str, manifest: str | None) -> bytes | None:
        return artifact_with(self._repository(place), version, manifest, f"{self.root}/{place}")

    def _manifest_in(self, artifact: bytes | None, place: str) -> str | None:
        return manifest_in(artifact, f"{self.root}/{place}")

    def _repository(self, place: str) -> Repository:
        return Repository(self._host, f"{self._name}/{place}")

    def _verified(self, repository: Repository, place: str, artifact: bytes, address: str) -> Copy:
        release, files = read_artifact(repository, artifact, address)
        check_place(f"{self.root}/{place}", release)
        digest = config_in(artifact)
        try:
            config = repository.blob(digest)
        except FileNotFoundError:
            config = b""
        if digest_of(config) != digest:
            raise RegistryError(
                "the release is corrupt: the configuration of its artifact is not the one that was pushed",
                where=address,
                bound=digest,
                measured=digest_of(config) if config else "nothing",
                remedy="find out what changed it, remove the release, and push again",
            )
        return Copy(release, files, (config, artifact))


def _artifact(copy: Copy) -> tuple[bytes, bytes]:
    return copy.artifact or artifact_of(copy.release, copy.files[MANIFEST_NAME])

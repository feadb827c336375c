"""The contents of a registry whose releases are files: a folder, or a bucket of an object store."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from pydantic import ValidationError

from components.core.errors import RegistryError
from components.core.files import sha256_of_bytes
from components.object_store.bucket import Stored as Object
from components.object_store.folder import FolderBucket
from components.object_store.limits import LONGEST_DOCUMENT, largest
from components.push.artifact import ARTIFACT_NAME, artifact_files, artifact_of
from components.push.beside import bucket_at
from components.push.folder_files import STAGING_PREFIX, STALE_SECONDS, is_there, stage_and_rename
from components.push.folder_files import explained as explained_files
from components.push.release import (
    COMPRESSED_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    Release,
    ReleaseManifest,
    manifest_path,
    same_pointer,
)
from components.push.release_files import (
    PART_PATTERN,
    VERSION_PATTERN,
    check_place,
    is_inside,
    is_manifest,
    pointed_version,
    pointer_to,
    read_channel,
    read_release,
)
from components.push.store_errors import explained
from components.push.upkeep.holdings import Copy, Leftover, Stored, not_signed
from components.push.upkeep.releases.signed_files import files_beside

_POINTER = re.compile(r"([a-z][a-z0-9_-]*)\.json")
# The names of files from `write_atomically` until they are complete.
_TEMPORARY = re.compile(r"\..+\.[A-Za-z0-9_]{8}")
_PROBE = ".edgemill-probe"
_OWN = ("_tuf", "_gc", "_audit")


class FileHoldings:
    """See `Holdings`."""

    def __init__(self, root: str, chosen: tuple[str, ...] = ()) -> None:
        self.root, self._chosen = root, chosen
        self._bucket, self._prefix = bucket_at(root)
        self._files: dict[str, dict[str, dict[str, Object]]] = {}
        self._pointers: dict[str, list[str]] = {}
        self._temporary: list[Object] = []
        self._strangers: list[str] = []

    def places(self) -> tuple[str, ...]:
        """See `Holdings`."""
        self._files, self._pointers, self._temporary, self._strangers = {}, {}, [], []
        with self._explained():
            for below in [f"{place}/" for place in self._chosen] or [""]:
                self._list(below)
        return tuple(sorted({*self._files, *self._pointers}))

    def versions(self, place: str) -> dict[str, Stored]:
        """See `Holdings`."""
        return {
            version: Stored(
                complete=MANIFEST_NAME in files,
                bytes=sum(one.size for one in files.values()),
                written=max(one.modified for one in files.values()),
            )
            for version, files in sorted(self._files.get(place, {}).items())
        }

    def again(self, place: str) -> None:
        """See `Holdings`."""
        self._files.pop(place, None)
        self._pointers.pop(place, None)
        with self._explained():
            self._list(f"{place}/")

    def manifest(self, place: str, version: str, sha256: str | None = None) -> bytes | None:
        """See `Holdings`."""
        for name in (MANIFEST_NAME, *([manifest_path(sha256)] if sha256 else [])):
            content = self.contents(place, version, [name]).get(name)
            if content is not None and sha256 in {None, sha256_of_bytes(content)}:
                return content
        return None

    def contents(self, place: str, version: str, names: Iterable[str]) -> dict[str, bytes]:
        """See `Holdings`."""
        with self._explained():
            read = {name: self._bucket.read_version(f"{self._prefix}{place}/{version}/{name}") for name in names}
        return {name: one.content for name, one in read.items() if one is not None}

    def oci_manifests(self, place: str, version: str) -> tuple[str, ...]:
        """See `Holdings`."""
        listed = self._files.get(place, {}).get(version, {})
        return tuple(name for name in listed if name.endswith(f"/{ARTIFACT_NAME}"))

    def read(self, place: str, version: str, manifest: str | None = None) -> Copy:
        """See `Holdings`."""
        files: dict[str, bytes] = {}

        def read(name: str) -> bytes:
            if name == MANIFEST_NAME and manifest:
                if (found := self.manifest(place, version, manifest)) is None:
                    there = sha256_of_bytes(found) if (found := self.manifest(place, version)) else "no such file"
                    raise not_signed(f"{self.root}/{place}/{version}/{name}", [manifest], there)
                return files.setdefault(name, found)
            files[name] = self._bucket.read(f"{self._prefix}{place}/{version}/{name}", largest(name))
            return files[name]

        with self._explained():
            release = read_release(f"{self.root}/{place}/{version}", version, read)
        check_place(f"{self.root}/{place}", release)
        artifact = artifact_of(release, files[MANIFEST_NAME]) if release.manifest.artifact else None
        beside = artifact_files(release, files[MANIFEST_NAME])
        return Copy(release, {name: content for name, content in files.items() if name not in beside}, artifact)

    def channels(self, place: str) -> dict[str, Release | RegistryError]:
        """See `Holdings`."""
        found: dict[str, Release | RegistryError] = {}
        for channel in self._pointers.get(place, ()):
            try:
                if (pointed := self._channel(place, f"{place}/{channel}.json")) is not None:
                    found[channel] = pointed
            except RegistryError as error:
                found[channel] = error
        return found

    def named(self, place: str) -> dict[str, str | None]:
        """See `Holdings`."""
        found: dict[str, str | None] = {}
        for channel in self._pointers.get(place, ()):
            with self._explained():
                content = self._bucket.read_version(f"{self._prefix}{place}/{channel}.json")
            if content is not None:
                found[channel] = pointed_version(content.content)
        return found

    def pointed(self, place: str, channel: str) -> None:
        """See `Holdings`: pointers contain only the version."""

    def holds(self, place: str, version: str, written: bytes) -> bool:
        """See `Holdings`."""
        listed = self._files.get(place, {}).get(version, {})
        if MANIFEST_NAME not in listed or self.manifest(place, version, sha256_of_bytes(written)) != written:
            return False
        try:
            manifest = ReleaseManifest.model_validate_json(written)
        except ValidationError:
            return False
        release = Release(version=version, path=place, manifest=manifest)
        sizes = {MODEL_NAME: manifest.bytes, **{one.path(name): one.bytes for name, one in manifest.files.items()}}
        if manifest.compressed is not None:
            sizes[COMPRESSED_NAME] = manifest.compressed.bytes
        sizes |= {name: len(content) for name, content in artifact_files(release, written).items()}
        return all(name in listed and listed[name].size == size for name, size in sizes.items())

    def write(self, place: str, copy: Copy, *, current: bool = True) -> None:
        """See `Holdings`."""
        base = f"{self._prefix}{place}/{copy.release.version}/"
        files = {**artifact_files(copy.release, written := copy.files[MANIFEST_NAME]), **copy.files}
        before = self.manifest(place, copy.release.version)
        if not current:
            files[manifest_path(sha256_of_bytes(written))] = files.pop(MANIFEST_NAME)
        elif before is not None and before != written and is_manifest(before):
            files[manifest_path(sha256_of_bytes(before))] = before
        with self._explained():
            if isinstance(self._bucket, FolderBucket) and not is_there(final := self._bucket.root / base):
                with explained_files(final.parent, sum(map(len, files.values()))):
                    final.parent.mkdir(parents=True, exist_ok=True)
                    stage_and_rename(final, files)
            for name in sorted(files, key=lambda name: name == MANIFEST_NAME):
                if not self._bucket.write_if(base + name, files[name], None):
                    self._overwrite(base + name, files[name])

    def restore(self, place: str, version: str, name: str, content: bytes) -> None:
        """See `Holdings`."""
        with self._explained():
            self._overwrite(f"{self._prefix}{place}/{version}/{name}", content)

    def point(self, place: str, channel: str, release: Release) -> bool:
        """See `Holdings`."""
        key, content = f"{self._prefix}{place}/{channel}.json", pointer_to(release)
        with self._explained():
            before = self._bucket.read_version(key)
            if before is not None and same_pointer(before.content, content):
                return False
            self._overwrite(key, content)
            return True

    def remove(self, place: str, version: str) -> None:
        """See `Holdings`. In a bucket, the manifest is removed first: without it, there is no release."""
        base = f"{self._prefix}{place}/{version}/"
        with self._explained():
            if isinstance(self._bucket, FolderBucket):
                self._bucket.delete_folder(base.rstrip("/"), f"{place}/{STAGING_PREFIX}{secrets.token_hex(4)}")
                return
            keys = [one.key for one in self._bucket.objects(base)]
            self._bucket.delete([base + MANIFEST_NAME])
            self._bucket.delete(key for key in keys if key != base + MANIFEST_NAME)

    def leftovers(self, signed: Mapping[str, Collection[str]]) -> Iterator[Leftover]:
        """See `Holdings`."""
        self.places()
        for one in self._temporary:
            name = one.key.removeprefix(self._prefix)
            # There is no way to know whether a running push has just written it.
            yield Leftover("a temporary file", name, None, (one.key,), one.size, one.modified, STALE_SECONDS)
        for place, versions in self._files.items():
            for version, files in versions.items():
                here = f"{place}/{version}"
                if not (names := self._unneeded(place, version, files, signed.get(here, ()))):
                    continue
                what = "files of a replaced manifest" if MANIFEST_NAME in files else "an incomplete release"
                keys = tuple(files[name].key for name in names)
                size, written = sum(files[name].size for name in names), max(files[name].modified for name in names)
                yield Leftover(what, here, here, keys, size, written)

    def remove_leftover(self, leftover: Leftover) -> None:
        """See `Holdings`."""
        place, _, version = (leftover.release or "").rpartition("/")
        if isinstance(self._bucket, FolderBucket) and set(leftover.names) == set(self._keys(place, version)):
            # In one step: an empty folder of a version would look like a damaged release to a push.
            self.remove(place, version)
            return
        with self._explained():
            self._bucket.delete(leftover.names)

    def _keys(self, place: str, version: str) -> list[str]:
        return [one.key for one in self._files.get(place, {}).get(version, {}).values()]

    def strangers(self) -> tuple[str, ...]:
        """See `Holdings`."""
        return tuple(self._strangers)

    def _channel(self, place: str, name: str) -> Release | None:
        with self._explained():
            return read_channel(
                f"{self.root}/{name}",
                lambda: self._bucket.read(self._prefix + name, LONGEST_DOCUMENT),
                lambda version: self.read(place, version).release,
            )

    def _list(self, below: str) -> None:
        for one in self._bucket.objects(self._prefix + below):
            name = one.key.removeprefix(self._prefix)
            parts = name.split("/")
            if name == _PROBE or any(part.startswith(STAGING_PREFIX) or _TEMPORARY.fullmatch(part) for part in parts):
                self._temporary.append(one)
            elif parts[0] in _OWN and len(parts) > 1:
                continue
            elif len(parts) < 3 or not all(map(PART_PATTERN.fullmatch, parts[:2])) or is_inside(parts):
                self._strangers.append(name)
            elif len(parts) == 3 and (match := _POINTER.fullmatch(parts[2])):
                self._pointers.setdefault("/".join(parts[:2]), []).append(match[1])
            elif len(parts) > 3 and VERSION_PATTERN.fullmatch(parts[2]):
                versions = self._files.setdefault("/".join(parts[:2]), {})
                versions.setdefault(parts[2], {})["/".join(parts[3:])] = one
            else:
                self._strangers.append(name)

    def _unneeded(self, place: str, version: str, files: dict[str, Object], signed: Collection[str]) -> list[str]:
        if MANIFEST_NAME not in files:
            return [] if signed else list(files)
        extra = [name for name in files if name.startswith("content/")]
        contents = [self.manifest(place, version, digest) or b"" for digest in (None, *signed)] if extra else []
        try:
            needed = {name for content in contents for name in files_beside(content, place, version)}
        except ValidationError:
            return []  # `verify` reports it.
        return [name for name in extra if name not in needed]

    def _overwrite(self, key: str, content: bytes) -> None:
        """Replace a file that no other process changes at the same time."""
        found = self._bucket.read_version(key)
        if found is not None and found.content == content:
            return
        if not self._bucket.write_if(key, content, None if found is None else found.version):
            again = self._bucket.read_version(key)
            if again is None or again.content != content:
                raise RegistryError(
                    "another process has just changed this",
                    where=f"{self.root}/{key.removeprefix(self._prefix)}",
                    remedy="run again",
                )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explained(self.root):
            yield

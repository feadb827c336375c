"""An empty registry of each kind, and its files behind the registry's back."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from unittest import mock

from components.object_store.bucket import split
from components.object_store.clients import bucket_of
from components.push.beside import normal_root
from components.push.oci.reading import repository_at
from components.push.registry import Registry, open_registry, registry_at, store_at
from components.push.release import Release, ReleaseManifest
from components.push.release_files import described
from components.push.several import publish
from components.push.signed import open_signed
from components.spec.recipe import Recipe
from components.spec.registry import GcsRegistry, LocalRegistry, OciRegistry, S3Registry
from components.trust import oci_store
from components.trust.keys import VARIABLE
from components.trust.names import FOLDER, OCI_REPOSITORY, tag_of
from components.trust.repository import SignedRegistry
from components.trust.setup import create
from tests.gateway import Gateway, gateway_to
from tests.object_store import BUCKET, google_server, s3_server, s3_user
from tests.oci_server import MEMORY, OciServer, oci_server

# The server of the tests answers at once.
QUICK_LOCK = {"WRITE_SECONDS": 0.2, "WAIT_SECONDS": 0.3, "_PAUSE_SECONDS": 0.05}
MODEL = bytes(range(256)) * 8
FILE_KINDS = ("local", "s3", "gcs")  # with the same files at the same paths
KINDS = (*FILE_KINDS, "oci")


def manifest_of(model: bytes, accuracy: float = 0.875) -> ReleaseManifest:
    return ReleaseManifest(
        name="shoes",
        device_class="phone",
        device="phone_cpu",
        sha256=hashlib.sha256(model).hexdigest(),
        bytes=len(model),
        recipe=Recipe.model_validate({"name": "int8", "scheme": "static_wi8_ai8"}),
        metrics={"accuracy": {"value": accuracy}},
    )


class Files(Protocol):
    """The files below a registry's root, by relative path."""

    def all(self) -> dict[str, bytes]: ...

    def write(self, name: str, content: bytes) -> None: ...

    def remove(self, name: str) -> None: ...


class FolderFiles:
    def __init__(self, root: Path) -> None:
        self._root = root

    def all(self) -> dict[str, bytes]:
        return {
            path.relative_to(self._root).as_posix(): path.read_bytes()
            for path in self._root.rglob("*")
            if path.is_file()
        }

    def write(self, name: str, content: bytes) -> None:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self, name: str) -> None:
        (self._root / name).unlink()


class Place:
    """One registry: where it is, how it is opened, and what is in it."""

    def __init__(self, spec: Any, files: Files) -> None:
        self.spec, self.files = spec, files

    @property
    def root(self) -> str:
        return str(self.spec.root)

    def open(self, channel: str = "stable") -> Registry:
        return open_registry(self.spec.model_copy(update={"channel": channel}))

    def sign(self, keys: Path) -> SignedRegistry:
        """Sign it with new keys."""
        root = normal_root(self.root)
        return create(root, store_at(root), keys)

    def registry(self) -> SignedRegistry:
        """Open it with the keys that the environment names."""
        found = open_signed(self.root)
        assert found is not None
        return found

    def publish(
        self, model: bytes, channel: str = "stable", *, name: str = "shoes", device_class: str = "phone"
    ) -> str:
        """Push as a run does: signed if the registry is, and with an entry in the audit log. Returns the version."""
        manifest = manifest_of(model).model_copy(update={"device_class": device_class, "name": name})
        spec = self.spec.model_copy(update={"channel": channel})
        (release,), _ = publish([spec], device_class, name, model, manifest)
        return release.version

    def decide(self, channel: str, accuracy: float) -> Release:
        """Push `MODEL` as a run does, after a decision with an accuracy that the card also names."""
        card = {"model_card.md": f"accuracy {accuracy}".encode()}
        manifest = manifest_of(MODEL, accuracy).model_copy(update={"files": described(card)})
        spec = self.spec.model_copy(update={"channel": channel})
        return publish([spec], "phone", "shoes", MODEL, manifest, card)[0][0]

    @property
    def kind(self) -> type[Registry]:
        return registry_at(self.root)

    def push(
        self, model: bytes = MODEL, channel: str = "stable", accuracy: float = 0.875, name: str = "shoes"
    ) -> Release:
        registry = self.open(channel)
        release = registry.put("phone", name, model, manifest_of(model, accuracy))
        registry.commit(release)
        return release

    def current(self, channel: str = "stable") -> Release | None:
        return self.open(channel).current("phone", "shoes")

    def versions(self) -> tuple[str, ...]:
        return self.open().versions("phone", "shoes")

    def artifact(self, version: str) -> bytes:
        """The OCI manifest of a release, as the registry holds it."""
        if isinstance(self.files, OciFiles):
            found = repository_at(f"{self.root}/phone/shoes").manifest(version)
            assert found is not None
            return found
        here = [name for name in self.files.all() if f"/{version}/" in name and name.endswith("/oci-manifest.json")]
        (name,) = here
        return self.files.all()[name]

    def pointer(self, channel: str = "stable") -> str:
        """The address of a channel, as messages name it."""
        end = f":{channel}" if isinstance(self.spec, OciRegistry) else f"/{channel}.json"
        return f"{self.root}/phone/shoes{end}"

    def remove(self, version: str) -> None:
        """Remove a release behind the registry's back."""
        if isinstance(self.files, OciFiles):
            for name in self.files.all():
                if name.startswith(f"tag phone/shoes:{version}"):
                    self.files.remove_tag(name.removeprefix("tag "))
            return
        if isinstance(self.files, FolderFiles):
            shutil.rmtree(Path(self.root, "phone/shoes", version))
            return
        for name in self.files.all():
            if name.startswith(f"phone/shoes/{version}/"):
                self.files.remove(name)


class ObjectFiles:
    """The objects below an address."""

    def __init__(self, root: str) -> None:
        self._root, self._prefix = root, f"{split(root)[2]}/"

    def all(self) -> dict[str, bytes]:
        bucket = bucket_of(self._root)
        found = [one.key for one in bucket.objects(self._prefix)]
        return {key.removeprefix(self._prefix): bucket.read(key) for key in found}

    def write(self, name: str, content: bytes) -> None:
        bucket_of(self._root).write(self._prefix + name, content)

    def remove(self, name: str) -> None:
        bucket_of(self._root).delete([self._prefix + name])


class OciFiles:
    """The files of all artifacts by repository and version, and changes of them on the registry's disk."""

    def __init__(self, server: OciServer, root: str) -> None:
        self._server, self._prefix = server, root.partition("://")[2].partition("/")[2]

    def all(self) -> dict[str, bytes]:
        found = self._server.files(self._prefix)
        tags = {f"tag {name}": digest.encode() for name, digest in self._server.tags(self._prefix).items()}
        releases = {name: content for name, content in found.items() if _is_version(name.split("/")[2])}
        metadata = {
            f"{FOLDER}/{name.split('/', 2)[2]}": content
            for name, content in found.items()
            if name.startswith(f"{OCI_REPOSITORY}/")
        }
        return {**releases, **metadata, **tags}

    def write(self, name: str, content: bytes) -> None:
        self._server.layer(self._prefix, _in_repository(name)).write_bytes(content)

    def remove(self, name: str) -> None:
        self._server.layer(self._prefix, _in_repository(name)).unlink()

    def remove_tag(self, reference: str) -> None:
        """Remove the tag of a `repository:tag`."""
        self._server.remove_tag(self._prefix, reference)


def _in_repository(name: str) -> str:
    """The name of a file as its repository has it: signed metadata is in its own repository."""
    folder, _, file = name.partition("/")
    return f"{OCI_REPOSITORY}/{tag_of(file)}/{file}" if folder == FOLDER else name


def _is_version(tag: str) -> bool:
    return len(tag) == 16 and set(tag) <= set("0123456789abcdef")


class Store:
    """A server of one kind, with a gateway in front of it; None for folders."""

    def __init__(self, kind: str, gateway: Gateway | None, oci: OciServer | None = None) -> None:
        self.kind, self.gateway, self.oci, self._number = kind, gateway, oci, 0

    def place(self, folder: Path) -> Place:
        """An empty registry; `folder` is for the kind that needs one."""
        self._number += 1
        if self.gateway is not None:
            self.gateway.reset()
        root = f"{BUCKET}/some/registry-{self._number}"
        match self.kind:
            case "s3":
                return Place(S3Registry(kind="s3", root=f"s3://{root}"), ObjectFiles(f"s3://{root}"))
            case "gcs":
                return Place(GcsRegistry(kind="gcs", root=f"gs://{root}"), ObjectFiles(f"gs://{root}"))
            case "oci":
                assert self.gateway is not None and self.oci is not None
                self.oci.clear()  # all repositories share their blobs
                root = f"oci://{self.gateway.url.removeprefix('http://')}/some/registry-{self._number}"
                return Place(OciRegistry(kind="oci", root=root), OciFiles(self.oci, root))
        return Place(LocalRegistry(root=str(folder)), FolderFiles(folder))


@contextmanager
def signed_in(place: Place, keys: Path) -> Iterator[Place]:
    """A registry that is signed with new keys, and the environment that finds them."""
    place.sign(keys)
    with mock.patch.dict(os.environ, {VARIABLE: str(keys)}):
        yield place


@contextmanager
def store_of(kind: str, lock: Mapping[str, float] = QUICK_LOCK) -> Iterator[Store]:
    """A server of a kind, and the environment that finds its gateway. `lock` is that of signed OCI registries."""
    match kind:
        case "s3":
            with (
                s3_server() as server,
                gateway_to(server.url) as gateway,
                s3_user(gateway.url, server.key_id, server.secret, server.token),
            ):
                yield Store(kind, gateway)
        case "gcs":
            with (
                google_server() as url,
                gateway_to(url) as gateway,
                mock.patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": gateway.url}),
            ):
                yield Store(kind, gateway)
        case "oci":
            with (
                tempfile.TemporaryDirectory(dir=MEMORY) as folder,
                oci_server(Path(folder)) as oci,
                gateway_to(oci.url) as gateway,
                mock.patch.dict(os.environ, {"DOCKER_CONFIG": folder}),
                mock.patch.multiple(oci_store, **lock),
            ):
                yield Store(kind, gateway, oci)
        case _:
            yield Store(kind, None)

"""An empty registry of each kind, and its files behind the registry's back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from components.push.registry import Registry, open_registry, registry_at
from components.push.release import Release, ReleaseManifest
from components.spec.recipe import Recipe
from components.spec.registry import LocalRegistry

MODEL = bytes(range(256)) * 8
KINDS = ("local",)


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


@contextmanager
def place_of(kind: str, folder: Path) -> Iterator[Place]:
    """An empty registry of a kind; `folder` is for kinds that need one."""
    yield Place(LocalRegistry(root=str(folder)), FolderFiles(folder))

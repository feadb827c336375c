"""What every kind of registry can do. Nothing outside this package knows how one keeps its releases."""

from __future__ import annotations

import importlib
from typing import Any, Protocol

from components.core.values import FrozenModel
from components.push.release import Release, ReleaseManifest
from components.spec.registry import REGISTRIES, BaseRegistry


class Located(FrozenModel):
    """What was found at an address.

    Attributes:
        address: Of the release, as `Release.path` tells it.
        sha256: Of the model.
        manifest_sha256: Of the release's manifest; None where there is none.
        manifest: Where the manifest is, for messages.
    """

    address: str
    sha256: str
    manifest_sha256: str | None
    manifest: str


class Registry(Protocol):
    """A kind of registry. Releases are named by addresses, which begin with the kind's prefix."""

    def __init__(self, spec: Any) -> None: ...

    def check_writable(self) -> None:
        """Try, before anything runs, that a release can be published. Leaves nothing behind.

        Raises:
            RegistryError: It cannot, with the remedy.
        """

    def publish(self, device_class: str, name: str, model: bytes, manifest: ReleaseManifest) -> Release:
        """Deliver a model, and point the channel at it. The same bytes again are the same release.

        Raises:
            RegistryError: The registry refused; the channel points where it did.
            SpecError: The registry cannot hold such a name.
        """
        ...

    def manifest_sha256(self, release: Release) -> str:
        """Digest of a release's manifest, as the registry keeps it."""
        ...

    @staticmethod
    def resolve(target: str) -> Located:
        """What is at an address: a release, verified, or a part of one.

        Raises:
            RegistryError: A damaged release.
            MetadataError: There is nothing.
        """
        ...

    @staticmethod
    def point_at(address: str, channel: str) -> tuple[str | None, Release]:
        """Point a channel that exists at a release that is there.

        Returns:
            The version that the channel pointed at, None if that could not be read; and the verified release.

        Raises:
            RegistryError: It is no whole release, there is no such channel, or the registry cannot be written.
        """
        ...

    @staticmethod
    def exists(address: str) -> bool:
        """Whether a release was not removed. A registry that cannot be reached has lost nothing."""
        ...


def open_registry(spec: BaseRegistry) -> Registry:
    """The registry that a pipeline file names."""
    return _backend(type(spec))(spec)


def registry_at(address: str) -> type[Registry]:
    """The kind of registry that an address is of."""
    return _backend(max((kind for kind in REGISTRIES if address.startswith(kind.address_prefix)), key=_specificity))


def backend_module(spec: BaseRegistry) -> str:
    """The module whose code delivers."""
    return spec.backend.partition(":")[0]


def _specificity(kind: type[BaseRegistry]) -> int:
    return len(kind.address_prefix)


def _backend(kind: type[BaseRegistry]) -> type[Registry]:
    module, _, name = kind.backend.partition(":")
    backend: type[Registry] = getattr(importlib.import_module(module), name)
    return backend

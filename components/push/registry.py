"""The interface of every kind of registry. Only this package knows how a registry stores its releases."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, get_args

from components.core.errors import RegistryError, SpecError
from components.core.values import FrozenModel
from components.push.release import NO_FILES, Release, ReleaseManifest
from components.spec.registry import REGISTRIES, BaseRegistry
from components.trust.rollout import ReleaseRef
from components.trust.storage import ListedStore

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Without a user, a password, or a query.
_PLAIN = re.compile(r"[a-z0-9]+://[A-Za-z0-9._:/-]*")


class Located(FrozenModel):
    """A release or model at an address.

    Attributes:
        address: Address of the release, as in `Release.path`.
        sha256: Digest of the model.
        manifest_sha256: Digest of the release's manifest; None for a model that isn't in a release.
        manifest: Location of the manifest, for messages.
    """

    address: str
    sha256: str
    manifest_sha256: str | None
    manifest: str


class Registry(Protocol):
    """A kind of registry. The addresses of its releases begin with its prefix."""

    def __init__(self, spec: Any) -> None: ...

    def check_writable(self) -> None:
        """Check, before anything runs, that a release can be published. Leaves no files behind.

        Raises:
            RegistryError: A release cannot be published.
        """

    def put(
        self,
        device_class: str,
        name: str,
        model: bytes,
        manifest: ReleaseManifest,
        files: Mapping[str, bytes] = NO_FILES,
    ) -> Release:
        """Write a release, or verify the existing one with the same bytes. The same bytes always give the same version.

        No channel changes, so devices don't see the release before its `commit`. If a release of the same bytes has
        a different manifest, the new one is written next to it, and replaces it as the current one in `commit`. `files`
        are those that the manifest describes.

        Raises:
            RegistryError: The registry refused the release, or contains a corrupt one.
            SpecError: The registry doesn't support the name.
        """
        ...

    def commit(self, release: Release) -> None:
        """Point the channel to a release from `put` in one step: readers see the old pointer or the new one.

        Raises:
            RegistryError: The registry refused the change. The channel is unchanged.
        """

    def current(self, device_class: str, name: str) -> Release | None:
        """Return the verified release that the channel points to; None if the channel doesn't exist.

        Raises:
            RegistryError: The pointer or the release is damaged.
        """
        ...

    def versions(self, device_class: str, name: str) -> tuple[str, ...]:
        """Return the versions of all releases of a pipeline for a device class, sorted."""
        ...

    @staticmethod
    def resolve(target: str) -> Located:
        """Resolve an address to a verified release or a file of one.

        Raises:
            RegistryError: The release is damaged.
            MetadataError: The address doesn't exist.
            StorageError: The registry can't be read.
        """
        ...

    @staticmethod
    def point_at(address: str, channel: str) -> tuple[str | None, Release]:
        """Point an existing channel to an existing release.

        Returns:
            The version that the channel pointed to before (None if that cannot be read), and the verified release.

        Raises:
            RegistryError: The release is incomplete, the channel doesn't exist, or the registry isn't writable.
        """
        ...

    @staticmethod
    def follow(address: str, channel: str, ref: ReleaseRef) -> None:
        """Point a channel, which may be new, to a release that is signed for it. The release's files aren't read.

        If channels name manifests, it names the one that is signed, which can be older than the current one.

        Raises:
            RegistryError: The registry isn't writable.
        """

    @classmethod
    def channels(cls, address: str) -> Iterator[tuple[str, Located | RegistryError]]:
        """Yield the pointer of each channel of a release's device class and name, with the release that it points to.

        The release is verified. If it is damaged, there is the error that a device on the channel would get instead.
        The release at `address` itself need not exist.
        """
        ...

    @staticmethod
    def exists(address: str) -> bool:
        """Return whether a release exists. If the registry cannot be reached, assume that it does."""
        ...


def open_registry(spec: BaseRegistry) -> Registry:
    """Open the registry that a pipeline file names."""
    opened: Registry = referenced(spec.backend)(spec)
    return opened


def opened_at(root: str) -> Registry:
    """Open the registry at a folder or an address, without a pipeline file. Raises the same errors as `kind_at`."""
    kind = kind_at(root)
    (name,) = get_args(kind.model_fields["kind"].annotation)
    return open_registry(kind.model_validate({"kind": name, "root": root}))


def is_release_address(target: str) -> bool:
    """Return whether a text is an address in a registry that isn't a folder."""
    return any(kind.address_prefix and target.startswith(kind.address_prefix) for kind in REGISTRIES)


def registry_at(address: str) -> type[Registry]:
    """Return the class that delivers to the registry that an address belongs to. For errors, see `kind_at`."""
    found: type[Registry] = referenced(kind_at(address).backend)
    return found


def store_at(root: str) -> ListedStore:
    """Return the signed metadata of the registry at a folder or an address. Its kind must support signatures."""
    found: ListedStore = referenced(kind_at(root).signed_store)(root)
    return found


def kind_at(address: str) -> type[BaseRegistry]:
    """Return the kind of registry that an address belongs to.

    Raises:
        SpecError: There is no such kind, or the address isn't valid for it. The message quotes the address only
            if it contains no character that separates a password.
    """
    fitting = (kind for kind in REGISTRIES if address.startswith(kind.address_prefix))
    kind = max(fitting, key=lambda one: len(one.address_prefix))
    scheme = _SCHEME.match(address)
    if scheme and not kind.address_prefix:
        raise SpecError(
            "there is no such kind of registry",
            where=scheme[0],
            bound=known_forms(),
            remedy="specify the `root` of a registry in a pipeline file",
        )
    if kind.address_pattern and not re.match(kind.address_pattern, address):
        raise SpecError(
            "this is not the address of a registry",
            where=kind.address_prefix,
            bound=kind.address_form,
            measured=address if _PLAIN.fullmatch(address) else None,
            remedy="correct it; credentials come from the environment: docs/production.md",
        )
    return kind


def known_forms() -> str:
    """Describe the forms of addresses."""
    return ", or ".join(kind.address_form for kind in REGISTRIES if kind.address_form)


def backend_module(spec: BaseRegistry) -> str:
    """Return the module that implements a kind of registry."""
    return spec.backend.partition(":")[0]


def referenced(reference: str) -> Any:
    """Return the object that a reference `package.module:NAME` names."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)

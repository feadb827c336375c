"""What a registry holds, as upkeep sees it: places, releases, channels, and what belongs to none of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from components.core.errors import RegistryError
from components.push.release import Release


@dataclass(frozen=True)
class Copy:
    """A verified release with all its bytes.

    Attributes:
        release: The release.
        files: Path in the release -> content, the manifest as it is stored. Without the OCI manifest.
        artifact: The configuration of its OCI manifest, and that manifest; None if its files predate them.
    """

    release: Release
    files: Mapping[str, bytes]
    artifact: tuple[bytes, bytes] | None = None


@dataclass(frozen=True)
class Stored:
    """One version in a place, complete or not.

    Attributes:
        complete: Whether the file is there that a push writes last.
        bytes: Size of all its files; None if the registry doesn't say.
        written: When its newest file was written, by the registry's clock; None if the registry doesn't say.
    """

    complete: bool
    bytes: int | None
    written: float | None


@dataclass(frozen=True)
class Leftover:
    """Something that no release and no channel needs.

    Attributes:
        what: What it is.
        where: Its path or address below the root.
        release: The release that it could belong to, `<device class>/<name>/<version>`, or None.
        names: What is removed.
        bytes: Its size; None if the registry doesn't say.
        written: When it was written, by the registry's clock; None if the registry doesn't say.
        grace: The shortest grace period for it, in seconds.
    """

    what: str
    where: str
    release: str | None
    names: tuple[str, ...]
    bytes: int | None
    written: float | None
    grace: float = 0.0


class Holdings(Protocol):
    """The contents of one registry. A place is `<device class>/<name>`.

    Every method raises a RegistryError if the registry refuses or fails.

    Attributes:
        root: Its folder or address.
    """

    root: str

    def places(self) -> tuple[str, ...]:
        """List all places with releases or channels, and remember what was listed."""

    def versions(self, place: str) -> dict[str, Stored]:
        """Return what was listed of the versions in a place."""

    def again(self, place: str) -> None:
        """List one place again."""

    def manifest(self, place: str, version: str) -> bytes | None:
        """Read the manifest of a release as it is stored; None if it isn't there."""

    def contents(self, place: str, version: str, names: Iterable[str]) -> dict[str, bytes]:
        """Read files of a release as they are, damaged or not. Missing ones are left out."""

    def oci_manifests(self, place: str, version: str) -> tuple[str, ...] | None:
        """Return what was listed of the OCI manifests among the files of a release; None if they aren't files."""

    def read(self, place: str, version: str) -> Copy:
        """Read and verify a release. Raises a RegistryError that names what is damaged."""

    def channels(self, place: str) -> dict[str, Release | RegistryError]:
        """Read and verify what each channel of a place names."""

    def named(self, place: str) -> dict[str, str | None]:
        """Read which version each channel of a place names, without verifying it; None if that can't be read."""

    def holds(self, place: str, version: str, written: bytes) -> bool:
        """Return whether a release is there: the same manifest, and what it describes, by size or digest."""

    def write(self, place: str, copy: Copy) -> None:
        """Write the files of a release that don't exist, byte by byte, the manifest last."""

    def restore(self, place: str, version: str, name: str, content: bytes) -> None:
        """Replace a damaged file of a release by the verified content."""

    def point(self, place: str, channel: str, release: Release) -> bool:
        """Point a channel to a release, and create it if it doesn't exist. Return whether it changed."""

    def remove(self, place: str, version: str) -> None:
        """Remove a release, so that readers see all of it or nothing."""

    def leftovers(self) -> Iterable[Leftover]:
        """List again what no release needs: leftovers of killed pushes, and files of replaced manifests."""

    def remove_leftover(self, leftover: Leftover) -> None:
        """Remove a leftover."""

    def strangers(self) -> tuple[str, ...]:
        """Return what was listed but isn't written by any push. Maintenance never touches it."""
        ...

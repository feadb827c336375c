"""The contents of a registry from the view of upkeep: places, releases, channels, and everything else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from components.core.errors import RegistryError
from components.push.release import Release


@dataclass(frozen=True)
class Copy:
    """A verified release with all its bytes.

    Attributes:
        release: The release.
        files: Path in the release -> content, including the stored manifest, but not the OCI manifest.
        artifact: The configuration of its OCI manifest, and that manifest; None if its files predate them.
    """

    release: Release
    files: Mapping[str, bytes]
    artifact: tuple[bytes, bytes] | None = None


@dataclass(frozen=True)
class Stored:
    """One version in a place, complete or not.

    Attributes:
        complete: Whether the last file that a push writes is there.
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
        what: A description of it.
        where: Its path or address below the root.
        release: The release that it could belong to, `<device class>/<name>/<version>`, or None.
        names: Names of the objects or tags to remove.
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


def not_signed(where: str, bound: Iterable[str], measured: str) -> RegistryError:
    """The error for a file of a release whose digest is not a signed one."""
    return RegistryError(
        "this file is not the one that was signed",
        where=where,
        bound=" or ".join(f"sha256 {one}" for one in sorted(bound)),
        measured=measured,
        remedy="restore it: `edgemill registry repair --from` a mirror",
    )


class Holdings(Protocol):
    """The contents of one registry. A place is `<device class>/<name>`.

    Every method raises a RegistryError if the registry refuses or fails.

    Attributes:
        root: Its folder or address.
    """

    root: str

    def places(self) -> tuple[str, ...]:
        """List all places with releases or channels, and remember the listing."""

    def versions(self, place: str) -> dict[str, Stored]:
        """Return the listed versions in a place."""

    def again(self, place: str) -> None:
        """List one place again."""

    def manifest(self, place: str, version: str, sha256: str | None = None) -> bytes | None:
        """Read the manifest of a release with a digest, by default the current one; None if it isn't there."""

    def contents(self, place: str, version: str, names: Iterable[str]) -> dict[str, bytes]:
        """Read files of a release, even if they are damaged. Missing files are left out."""

    def oci_manifests(self, place: str, version: str) -> tuple[str, ...] | None:
        """Return the listed OCI manifests among the files of a release; None if they aren't files."""

    def read(self, place: str, version: str, manifest: str | None = None) -> Copy:
        """Read and verify a release with one of its manifests, by its digest, or with the current one.

        Raises a RegistryError that names the damaged file.
        """

    def channels(self, place: str) -> dict[str, Release | RegistryError]:
        """Read and verify the release that each channel of a place names."""

    def named(self, place: str) -> dict[str, str | None]:
        """Read the version that each channel of a place names, without verifying it; None if it can't be read."""

    def pointed(self, place: str, channel: str) -> str | None:
        """Read the digest of the manifest that a channel names; None if it names only a version, or doesn't exist."""

    def holds(self, place: str, version: str, written: bytes) -> bool:
        """Return whether a release is there: a manifest, current or not, and what it describes, by size or digest."""

    def write(self, place: str, copy: Copy, *, current: bool = True) -> None:
        """Write the files of a release that don't exist, byte by byte, the manifest last.

        If `current`, its manifest becomes the current one, and the one before is kept at its digest.
        """

    def restore(self, place: str, version: str, name: str, content: bytes) -> None:
        """Replace a damaged file of a release with the verified content."""

    def point(self, place: str, channel: str, release: Release) -> bool:
        """Point a channel to a release. Creates the channel if it doesn't exist. Returns whether it changed.

        If channels name manifests, it names the one of `release`.
        """

    def remove(self, place: str, version: str) -> None:
        """Remove a release, so that readers see all of it or nothing."""

    def leftovers(self, signed: Mapping[str, Collection[str]]) -> Iterable[Leftover]:
        """List again everything that no release needs: leftovers of killed pushes, and files of replaced manifests.

        `signed` has the digests of manifests that are needed even if they aren't current, by
        `<device class>/<name>/<version>`.
        """

    def remove_leftover(self, leftover: Leftover) -> None:
        """Remove a leftover."""

    def strangers(self) -> tuple[str, ...]:
        """Return listed items that no push writes. Maintenance never touches them."""
        ...

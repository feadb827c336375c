"""The sources that a device reads from: the URLs of a web server, or an OCI registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from components.device_client.network import Answer, Network
from components.device_client.oci import OciReader


class Reader(Protocol):
    """Reads the files of one registry. Nothing that it yields is trusted."""

    def metadata(self, url: str) -> Iterator[bytes]:
        """Yield a file of the metadata. Raises a DownloadHTTPError if the answer is an error."""

    def file(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Request a file of a release, at a path from `path_of` below the registry. The answer can have any status."""
        ...

    def path_of(self, place: str, version: str, file: str, sha256: str) -> str:
        """The path of a release's file.

        Args:
            place: Device class and name.
            version: Version of the release.
            file: Name of the file in the release.
            sha256: Digest of the file.
        """
        ...


class WebReader:
    """A folder or a bucket behind a web server."""

    def __init__(self, _url: str, network: Network) -> None:
        self._network = network

    def metadata(self, url: str) -> Iterator[bytes]:
        """See `Reader`."""
        return self._network.get(url).succeeded().chunks()

    def file(self, url: str, headers: Mapping[str, str]) -> Answer:
        """See `Reader`."""
        return self._network.get(url, headers)

    def path_of(self, place: str, version: str, file: str, sha256: str) -> str:  # noqa: ARG002
        """See `Reader`."""
        return f"{place}/{version}/{file}"


# URL scheme -> reader. Add another kind of server here.
_READERS: dict[str, Callable[[str, Network], Reader]] = {"oci": OciReader, "http": WebReader, "https": WebReader}


def reader_at(url: str, network: Network) -> Reader:
    """Open the registry at an address from the device's settings."""
    return _READERS[urlsplit(url).scheme](url, network)

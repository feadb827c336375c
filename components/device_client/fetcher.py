"""Downloads that continue where the last attempt ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from components.device_client.network import Answer, Network
from components.device_client.oci import OciReader, is_oci


class ResumingFetcher(FetcherInterface):
    """Fetches for the client of The Update Framework, and keeps the beginning of files in a folder.

    What is kept isn't trusted: the complete file is verified. If that fails, call `forget`.

    Attributes:
        continued: Whether the last file began with what an earlier attempt left.
    """

    def __init__(self, folder: Path, url: str, device_class: str) -> None:
        self._folder, self._files_below = folder, f"{url}/{device_class}/"
        self._network = Network()
        self._oci = OciReader(url, self._network) if is_oci(url) else None
        self.continued = False

    def part(self, url: str) -> Path:
        """The file with what has arrived of an address."""
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()}.part"

    def forget(self) -> None:
        """Remove everything that is kept."""
        for path in self._folder.glob("*.part"):
            path.unlink()

    def _fetch(self, url: str) -> Iterator[bytes]:
        if url.startswith(self._files_below):
            return self._resumed(url)
        return self._network_file(url) if self._oci is None else self._oci.metadata(url)

    def _network_file(self, url: str) -> Iterator[bytes]:
        return _found(self._network.get(url)).chunks()

    def _asked(self, url: str, headers: dict[str, str]) -> Answer:
        return self._network.get(url, headers) if self._oci is None else self._oci.file(url, headers)

    def _resumed(self, url: str) -> Iterator[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self.part(url)
        kept = part.read_bytes() if part.exists() else b""
        answer = self._asked(url, {"Range": f"bytes={len(kept)}-"} if kept else {})
        try:
            self.continued = bool(kept) and answer.status in {206, 416}
            # The file is complete: the range behind its end can't be satisfied.
            if answer.status == 416 and kept:
                yield kept
                return
            _found(answer)
            if answer.status != 206:
                kept = b""
            with part.open("ab" if kept else "wb") as file:
                if kept:
                    yield kept
                for chunk in answer.chunks():
                    file.write(chunk)
                    file.flush()
                    yield chunk
        finally:
            answer.close()


def _found(answer: Answer) -> Answer:
    """Raise a DownloadHTTPError if an answer is an error."""
    if not 200 <= answer.status < 300:
        answer.close()
        raise DownloadHTTPError(f"HTTP error occurred with status {answer.status}", answer.status)
    return answer

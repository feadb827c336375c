"""Downloads that continue where the last attempt ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import urllib3
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import Urllib3Fetcher

from components.device_client.oci import OciReader, is_oci

# Without an answer for this long, a device tries again later.
_SOCKET_SECONDS = 30
# What arrives of a chunk before a connection is lost must be fetched again.
_CHUNK = 4_096


class ResumingFetcher(Urllib3Fetcher):
    """Fetches metadata as the client of The Update Framework does, and keeps the beginning of files in a folder.

    What is kept isn't trusted: the complete file is verified. If that fails, call `forget`.
    """

    def __init__(self, folder: Path, url: str, device_class: str) -> None:
        super().__init__(socket_timeout=_SOCKET_SECONDS, chunk_size=_CHUNK, app_user_agent="edgemill-device")
        self._folder, self._files_below = folder, f"{url}/{device_class}/"
        self._pool = urllib3.PoolManager()
        self._oci = OciReader(url, self._pool, _SOCKET_SECONDS) if is_oci(url) else None

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
        return super()._fetch(url) if self._oci is None else self._oci.metadata(url)

    def _asked(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        if self._oci is not None:
            return self._oci.file(url, headers)
        asked = {"User-Agent": "edgemill-device", **headers}
        return self._pool.request(
            "GET", url, headers=asked, preload_content=False, timeout=urllib3.Timeout(_SOCKET_SECONDS)
        )

    def _resumed(self, url: str) -> Iterator[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self.part(url)
        kept = part.read_bytes() if part.exists() else b""
        response = self._asked(url, {"Range": f"bytes={len(kept)}-"} if kept else {})
        try:
            # The file is complete: the range behind its end can't be satisfied.
            if response.status == 416 and kept:
                yield kept
                return
            if response.status >= 400:
                raise DownloadHTTPError(f"HTTP error occurred with status {response.status}", response.status)
            if response.status != 206:
                kept = b""
            with part.open("ab" if kept else "wb") as file:
                if kept:
                    yield kept
                for chunk in response.stream(_CHUNK):
                    file.write(chunk)
                    file.flush()
                    yield chunk
        finally:
            response.release_conn()

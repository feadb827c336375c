"""Downloads that continue where the last attempt ended."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from tuf.ngclient import FetcherInterface

from components.device_client.network import Network
from components.device_client.readers import reader_at


class ResumingFetcher(FetcherInterface):
    """Downloads files for the client of The Update Framework, and keeps partial downloads in a folder.

    Partial downloads aren't trusted: the complete file is verified. If that fails, call `forget`.

    Attributes:
        reader: The reader of the registry.
        continued: Whether the last download continued an earlier attempt.
    """

    def __init__(self, folder: Path, url: str, device_class: str) -> None:
        self._folder, self._files_below = folder, f"{url}/{device_class}/"
        self.reader = reader_at(url, Network())
        self.continued = False

    def part(self, url: str) -> Path:
        """The file with the partial download from an address."""
        return self._folder / f"{hashlib.sha256(url.encode()).hexdigest()}.part"

    def forget(self) -> None:
        """Remove all partial downloads."""
        for path in self._folder.glob("*.part"):
            path.unlink()

    def _fetch(self, url: str) -> Iterator[bytes]:
        return self._resumed(url) if url.startswith(self._files_below) else self.reader.metadata(url)

    def _resumed(self, url: str) -> Iterator[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self.part(url)
        kept = part.read_bytes() if part.exists() else b""
        answer = self.reader.file(url, {"Range": f"bytes={len(kept)}-"} if kept else {})
        try:
            self.continued = bool(kept) and answer.status in {206, 416}
            # The file is complete: a range beyond its end can't be satisfied.
            if answer.status == 416 and kept:
                yield kept
                return
            answer.succeeded()
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

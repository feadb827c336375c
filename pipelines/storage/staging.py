"""Copies artifacts between object stores and local folders, because executors and TensorFlow need paths.

`s3://bucket/key` is copied to `<folder>/s3/bucket/key`. Before a copy is used, the name, size, and time of change of
each file are compared with the store, so that each object is downloaded only once.
Functions that take an address raise a StorageError if the store can't be read or written.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from components.core.errors import StorageError
from components.core.files import NotARegularFileError, read_regular
from components.facts.manifest import MANIFEST_NAME
from components.object_store.bucket import SCHEMES, Stored, below, is_address, split
from components.object_store.clients import bucket_of

# Transfers wait for the network, not for the processor.
_THREADS = 8
# Folder of incomplete downloads. An artifact's folder never contains one, so its digest is always valid.
_INCOMING = ".incoming"


class Staging:
    """The local copies of one pipeline's artifacts.

    Args:
        folder: The folder of the copies. It can be removed when no run is in progress.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefixes = {f"{folder}/{scheme}/": f"{scheme}://" for scheme in SCHEMES}

    def local(self, uri: str) -> str:
        """Return the path of an address's copy; return anything else unchanged."""
        if not is_address(uri):
            return uri
        scheme, _, rest = uri.partition("://")
        return f"{self._folder}/{scheme}/{rest}"

    def remote(self, path: str) -> str:
        """Return the address of a path from `local`; return anything else unchanged."""
        for prefix, scheme in self._prefixes.items():
            if path.startswith(prefix):
                return scheme + path.removeprefix(prefix)
        return path

    def fetch(self, uri: str) -> None:
        """Make a complete copy of an artifact.

        Raises:
            StorageError: The store can't be read, or an object was removed in the meantime.
        """
        stored = _listed(uri)
        folder = Path(self.local(uri))
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.rglob("*"):
            # Left by another metadata store with the same execution number.
            if path.is_file() and path.relative_to(folder).as_posix() not in stored:
                path.unlink()
        wanted = [name for name, one in stored.items() if not _is_copy(folder / name, one)]
        bucket, incoming = bucket_of(uri), self._folder / _INCOMING
        incoming.mkdir(parents=True, exist_ok=True)

        def download(name: str) -> None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=incoming) as place:
                whole = Path(place, "file")
                try:
                    bucket.download(stored[name].key, whole)
                except FileNotFoundError:
                    raise StorageError(
                        "an object of the artifact has vanished",
                        where=f"{uri}/{name}",
                        remedy="run again; if it is still missing, remove the run that made it",
                    ) from None
                os.utime(whole, (stored[name].modified,) * 2)
                whole.replace(path)

        _all(download, wanted)

    def publish(self, uri: str) -> None:
        """Upload an executor's outputs. The manifest is last, because it marks a complete artifact."""
        folder, bucket = Path(self.local(uri)), bucket_of(uri)
        key = split(uri)[2]
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        last = [name for name in names if name == MANIFEST_NAME]

        def upload(name: str) -> None:
            bucket.upload(folder / name, f"{key}/{name}")

        _all(upload, [name for name in names if name not in last])
        _all(upload, last)
        if not names:
            # An output can be empty, but TFX's cache checks that it exists.
            bucket.write(below(key), b"")
        for name, one in _listed(uri).items():
            os.utime(folder / name, (one.modified,) * 2)


def is_empty(uri: str) -> bool:
    """Return whether there are no objects at an address."""
    return next(bucket_of(uri).objects(below(split(uri)[2])), None) is None


def folder_sizes(uri: str, depth: int) -> dict[str, int]:
    """Map the addresses at a depth below an address to the total bytes below each."""
    prefix = below(split(uri)[2])
    sizes: dict[str, int] = {}
    for one in bucket_of(uri).objects(prefix):
        steps = one.key.removeprefix(prefix).split("/")
        if len(steps) > depth:
            folder = "/".join([uri.rstrip("/"), *steps[:depth]])
            sizes[folder] = sizes.get(folder, 0) + one.size
    return sizes


def discard(uri: str) -> None:
    """Remove all objects below an address."""
    bucket = bucket_of(uri)
    bucket.delete([one.key for one in bucket.objects(below(split(uri)[2]))])


def read(uri: str, name: str) -> bytes | None:
    """Read a file of an artifact, on disk or in an object store; None if there is no such file."""
    try:
        if is_address(uri):
            return bucket_of(uri).read(f"{split(uri)[2]}/{name}")
        return read_regular(Path(uri, name))
    except (FileNotFoundError, NotADirectoryError, NotARegularFileError):
        return None


def _listed(uri: str) -> dict[str, Stored]:
    prefix = below(split(uri)[2])
    # In some programs, a key that ends in a slash represents a folder. It has no content.
    found = bucket_of(uri).objects(prefix)
    return {one.key.removeprefix(prefix): one for one in found if not one.key.endswith("/")}


def _is_copy(path: Path, stored: Stored) -> bool:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_size == stored.size and abs(found.st_mtime - stored.modified) < 1e-3


def _all(do: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(do, names):
            pass

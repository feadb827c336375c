"""Artifacts of an object store as folders of this machine: executors and TensorFlow work on paths.

`s3://bucket/key` lies below `<folder>/s3/bucket/key`. What is there is compared with the store before it is used, name
by name, by size and time of change, so that each object comes over the network once.
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
from pipelines.storage.bucket import SCHEMES, Stored, below, bucket_of, is_address, split

# Transfers wait for the network, not for the processor.
_THREADS = 8
# Where files lie until they are whole: no digest of an artifact's folder must ever meet half of one.
_INCOMING = ".incoming"


class Staging:
    """The copies of one pipeline.

    Args:
        folder: Below which they lie. It may be removed whenever no run goes on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._prefixes = {f"{folder}/{scheme}/": f"{scheme}://" for scheme in SCHEMES}

    def local(self, uri: str) -> str:
        """Where the copy of an address lies, or is to lie; anything else is returned as it is."""
        if not is_address(uri):
            return uri
        scheme, _, rest = uri.partition("://")
        return f"{self._folder}/{scheme}/{rest}"

    def remote(self, path: str) -> str:
        """What `local` made a path of; anything else is returned as it is."""
        for prefix, scheme in self._prefixes.items():
            if path.startswith(prefix):
                return scheme + path.removeprefix(prefix)
        return path

    def fetch(self, uri: str) -> None:
        """Have a whole copy of an artifact.

        Raises:
            StorageError: The store cannot be read, or an object vanished.
        """
        stored = _listed(uri)
        folder = Path(self.local(uri))
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.rglob("*"):
            # Left by another metadata store that counted its executions alike.
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
                        remedy="run again; if it is not there then either, remove the run that made it",
                    ) from None
                _date(whole, stored[name])
                whole.replace(path)

        _all(download, wanted)

    def publish(self, uri: str) -> None:
        """Copy what an executor wrote into the store, the manifest last: it means a whole artifact.

        Raises:
            StorageError: The store cannot be written.
        """
        folder, bucket = Path(self.local(uri)), bucket_of(uri)
        key = split(uri)[2]
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        last = [name for name in names if name == MANIFEST_NAME]

        def upload(name: str) -> None:
            bucket.upload(folder / name, f"{key}/{name}")

        _all(upload, [name for name in names if name not in last])
        _all(upload, last)
        if not names:
            # An output may be empty; TFX's cache asks whether it is there.
            bucket.write(below(key), b"")
        for name, one in _listed(uri).items():
            _date(folder / name, one)


def is_empty(uri: str) -> bool:
    """Whether nothing lies at an address.

    Raises:
        StorageError: The store cannot be read.
    """
    return next(bucket_of(uri).objects(below(split(uri)[2])), None) is None


def folder_sizes(uri: str, depth: int) -> dict[str, int]:
    """Addresses so many steps below an address, and the bytes of all that lies below each.

    Raises:
        StorageError: The store cannot be read.
    """
    prefix = below(split(uri)[2])
    sizes: dict[str, int] = {}
    for one in bucket_of(uri).objects(prefix):
        steps = one.key.removeprefix(prefix).split("/")
        if len(steps) > depth:
            folder = "/".join([uri.rstrip("/"), *steps[:depth]])
            sizes[folder] = sizes.get(folder, 0) + one.size
    return sizes


def discard(uri: str) -> None:
    """Remove all that lies below an address.

    Raises:
        StorageError: The store cannot be written.
    """
    bucket = bucket_of(uri)
    bucket.delete([one.key for one in bucket.objects(below(split(uri)[2]))])


def read(uri: str, name: str) -> bytes | None:
    """A file of an artifact's folder, here or in an object store; None if there is none.

    Raises:
        StorageError: The store cannot be read.
    """
    try:
        if is_address(uri):
            return bucket_of(uri).read(f"{split(uri)[2]}/{name}")
        return read_regular(Path(uri, name))
    except (FileNotFoundError, NotADirectoryError, NotARegularFileError):
        return None


def _listed(uri: str) -> dict[str, Stored]:
    prefix = below(split(uri)[2])
    # A key that ends in a slash stands for a folder in some programs, and has no content.
    found = bucket_of(uri).objects(prefix)
    return {one.key.removeprefix(prefix): one for one in found if not one.key.endswith("/")}


def _is_copy(path: Path, stored: Stored) -> bool:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_size == stored.size and abs(found.st_mtime - stored.modified) < 1e-3


def _date(path: Path, stored: Stored) -> None:
    os.utime(path, (stored.modified, stored.modified))


def _all(do: Callable[[str], None], names: list[str]) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(do, names):
            pass

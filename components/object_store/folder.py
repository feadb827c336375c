"""A folder with the interface of a bucket, for code that treats folders and object stores the same way."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.core.errors import StorageError
from components.core.files import create_atomically, read_regular, sha256_of_bytes, sync_folder, write_atomically
from components.object_store.bucket import Content, Stored
from components.object_store.limits import largest, read_bounded

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM, errno.EROFS}


class FolderBucket:
    """A `components.object_store.bucket.Bucket`. A key is a path below the folder.

    Attributes:
        root: The folder.
        kept: Empty folders up to this many levels below the root are never removed, because processes write into them.
    """

    def __init__(self, root: Path, kept: int = 0) -> None:
        self.root, self.kept = root, kept

    def objects(self, prefix: str, after: str = "") -> Iterator[Stored]:
        """See `Bucket`. The version is the size and the time of the last change. Links are listed, not followed."""
        folder = self.root / prefix.rpartition("/")[0]
        with self._errors_explained(folder):
            found = [
                Path(parent, name)
                for parent, folders, names in os.walk(folder)
                for name in (*names, *(one for one in folders if Path(parent, one).is_symlink()))
            ]
            for key, path in sorted((path.relative_to(self.root).as_posix(), path) for path in found):
                if key.startswith(prefix) and key > after:
                    with suppress(FileNotFoundError):  # Removed in the meantime.
                        facts = path.lstat()
                        yield Stored(key, facts.st_size, facts.st_mtime, f"{facts.st_mtime_ns} {facts.st_size}")

    def read(self, key: str, most: int | None = None) -> bytes:
        """See `Bucket`."""
        path = self.root / key
        with self._errors_explained(path):
            return read_regular(path) if most is None else read_bounded(path, most)

    def write(self, key: str, content: bytes) -> None:
        """See `Bucket`."""
        with self._errors_explained(self.root / key):
            write_atomically(self.root / key, content)

    def read_version(self, key: str) -> Content | None:
        """See `Bucket`. The version is the digest."""
        try:
            content = self.read(key, largest(key))
        except FileNotFoundError:
            return None
        return Content(content, sha256_of_bytes(content))

    def write_if(self, key: str, content: bytes, version: str | None) -> bool:
        """See `Bucket`. Creation is one step. Between the comparison and a replacement, another process can write."""
        if version is not None:
            found = self.read_version(key)
            if found is None or found.version != version:
                return False
            self.write(key, content)
            return True
        path = self.root / key
        with self._errors_explained(path):
            try:
                create_atomically(path, content)
            except FileExistsError:
                return False
            return True

    def download(self, key: str, path: Path) -> None:
        """See `Bucket`."""
        write_atomically(path, self.read(key))

    def upload(self, path: Path, key: str) -> None:
        """See `Bucket`."""
        self.write(key, path.read_bytes())

    def delete(self, keys: Iterable[str]) -> None:
        """See `Bucket`. Folders that become empty are also removed."""
        for key in keys:
            path = self.root / key
            with self._errors_explained(path):
                path.unlink(missing_ok=True)
                for parent in path.parents:
                    if len(parent.relative_to(self.root).parts) <= self.kept:
                        break
                    try:
                        parent.rmdir()
                    except OSError:
                        break  # It isn't empty, or another process was faster.

    def delete_folder(self, key: str, aside: str) -> None:
        """Rename a folder to `aside`, so that readers see all of it or nothing, and remove it there."""
        with self._errors_explained(self.root / key), suppress(FileNotFoundError):
            (self.root / key).rename(self.root / aside)
            sync_folder((self.root / key).parent)
        shutil.rmtree(self.root / aside, ignore_errors=True)

    @contextmanager
    def _errors_explained(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as error:
            raise FileNotFoundError(f"there is no file {path}") from error
        except OSError as error:
            if error.errno in _NO_SPACE:
                what, remedy = "there is not enough space", "free up some space there, then run again"
            elif error.errno in _NO_PERMISSION:
                what, remedy = "there is no permission", "grant access to the folder, then run again"
            else:
                what, remedy = "the folder cannot be used", "fix the error in the message, then run again"
            reason = error.strerror or str(error)
            raise StorageError(f"{what}: {reason}", where=str(path), remedy=remedy) from error

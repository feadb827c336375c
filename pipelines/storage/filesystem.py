"""Object stores for the file operations of TFX's launcher and ExampleGen's driver, with the same clients.

TensorFlow doesn't support `s3://`, and uses a different client with different environment variables for `gs://`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from apache_beam.io.filesystem import FileSystem as BeamFileSystem
from tfx.dsl.io import filesystem, filesystem_registry

from components.object_store.bucket import SCHEMES, Stored, below, split
from components.object_store.clients import bucket_of
from pipelines.storage.staging import discard, is_empty

# Takes precedence over TensorFlow's file system, whose priority is 10.
_PRIORITY = 5
# TFX's own folders, which staging keeps on this machine. They are never in a store, so that an unreachable store
# doesn't matter.
_WORKING_FOLDERS = "/.system/"
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class FileStatus:
    """The facts that TFX needs about a file, with TensorFlow's names."""

    length: int
    mtime_nsec: int


class ObjectStoreFilesystem(filesystem.Filesystem):
    """TFX's file operations on object stores. A folder is a prefix of keys, and isn't created."""

    SUPPORTED_SCHEMES = [f"{scheme}://" for scheme in SCHEMES]

    @staticmethod
    def open(name: str, mode: str = "r") -> Any:
        """Open an object in memory; the files are small. It is written when it is closed without an error."""
        if "r" in mode:
            content = _read(name)
            return io.BytesIO(content) if "b" in mode else io.StringIO(content.decode())
        return _written(name, mode)

    @staticmethod
    def copy(src: str, dst: str, overwrite: bool = False) -> None:
        """Copy one object."""
        if not overwrite and ObjectStoreFilesystem.exists(dst):
            raise FileExistsError(dst)
        bucket_of(dst).write(split(dst)[2], _read(src))

    @staticmethod
    def exists(path: str) -> bool:
        """Return whether an object exists at a path or below it."""
        return _status(path) is not None or not is_empty(path)

    @staticmethod
    def glob(pattern: str) -> list[str]:
        """List the objects whose names match a pattern, with the rules of Beam's file systems."""
        scheme, bucket, _ = split(pattern)
        return [f"{scheme}://{bucket}/{one.key}" for one in matching_objects(pattern)]

    @staticmethod
    def isdir(path: str) -> bool:
        """Return whether there is an object below a path."""
        return not is_empty(path)

    @staticmethod
    def listdir(path: str) -> list[str]:
        """List the names directly below a path."""
        prefix = below(split(path)[2])
        found = (one.key.removeprefix(prefix) for one in bucket_of(path).objects(prefix))
        return list(dict.fromkeys(name.partition("/")[0] for name in found if name))

    @staticmethod
    def makedirs(path: str) -> None:
        """Do nothing, because folders aren't created."""

    mkdir = makedirs

    @staticmethod
    def remove(path: str) -> None:
        """Remove an object. A missing object isn't an error, as in object stores."""
        bucket_of(path).delete([split(path)[2]])

    @staticmethod
    def rename(src: str, dst: str, overwrite: bool = False) -> None:
        """Copy, then remove. This isn't atomic."""
        ObjectStoreFilesystem.copy(src, dst, overwrite)
        ObjectStoreFilesystem.remove(src)

    @staticmethod
    def rmtree(path: str) -> None:
        """Remove all objects below a path. It isn't an error if there are none."""
        if _WORKING_FOLDERS not in path:
            discard(path)

    @staticmethod
    def stat(path: str) -> FileStatus:
        """Return the size and the time of the last change of an object."""
        found = _status(path)
        if found is None:
            raise filesystem.NotFoundError(path)
        return FileStatus(found.size, int(found.modified * 1e9))

    @staticmethod
    def walk(
        top: str,
        topdown: bool = True,
        onerror: Callable[..., None] | None = None,  # noqa: ARG004
    ) -> Iterable[tuple[str, list[str], list[str]]]:
        """List folders with their contents."""
        prefix = below(split(top)[2])
        folders: dict[str, tuple[dict[str, None], list[str]]] = {"": ({}, [])}
        for one in bucket_of(top).objects(prefix):
            *parents, name = one.key.removeprefix(prefix).split("/")
            for depth, parent in enumerate(parents):
                folders["/".join(parents[:depth])][0][parent] = None
                folders.setdefault("/".join(parents[: depth + 1]), ({}, []))
            if name:
                folders["/".join(parents)][1].append(name)
        found = [(f"{top.rstrip('/')}/{folder}".rstrip("/"), list(inner), files)
                 for folder, (inner, files) in folders.items()]  # fmt: skip
        return found if topdown else found[::-1]


def matching_objects(pattern: str) -> list[Stored]:
    """List the objects that match an address with wildcards, sorted by key."""
    key = split(pattern)[2]
    matching = re.compile(BeamFileSystem.translate_pattern(key))
    return [one for one in bucket_of(pattern).objects(_WILDCARD.split(key)[0]) if matching.fullmatch(one.key)]


def register() -> None:
    """Register the file system with TFX in this process. Can be called repeatedly."""
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(ObjectStoreFilesystem, priority=_PRIORITY)


@contextmanager
def _written(name: str, mode: str) -> Iterator[IO[Any]]:
    buffer: IO[Any] = io.BytesIO() if "b" in mode else io.StringIO()
    yield buffer
    buffer.seek(0)
    content = buffer.read()
    bucket_of(name).write(split(name)[2], content if isinstance(content, bytes) else content.encode())


def _status(path: str) -> Stored | None:
    key = split(path)[2]
    # Objects are sorted by key, so a key comes before those that begin with it.
    first = next(bucket_of(path).objects(key), None) if key else None
    return first if first is not None and first.key == key else None


def _read(name: str) -> bytes:
    try:
        return bucket_of(name).read(split(name)[2])
    except FileNotFoundError as error:
        raise filesystem.NotFoundError(name) from error

"""Object stores for TFX's own file operations: what its launcher and ExampleGen's driver ask, by the same clients.

TensorFlow knows no `s3://`, and has another client for `gs://`, with other variables.
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

from pipelines.storage.bucket import SCHEMES, Stored, below, bucket_of, split
from pipelines.storage.staging import discard, is_empty

# Before TensorFlow's, which says 10.
_PRIORITY = 5
# TFX's own, which staging keeps on this machine: not to be looked for in a store, least of all in one that was lost.
_WORKING_FOLDERS = "/.system/"
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class FileStatus:
    """What TFX asks of a file, under TensorFlow's names."""

    length: int
    mtime_nsec: int


class ObjectStoreFilesystem(filesystem.Filesystem):
    """TFX's file operations on object stores, where a folder is what keys have before a slash, and needs no making."""

    SUPPORTED_SCHEMES = [f"{scheme}://" for scheme in SCHEMES]

    @staticmethod
    def open(name: str, mode: str = "r") -> Any:
        """A whole object in memory: these are small files. Written when it is closed without an error."""
        if "r" in mode:
            content = _found(name, lambda: bucket_of(name).read(split(name)[2]))
            return io.BytesIO(content) if "b" in mode else io.StringIO(content.decode())
        return _written(name, mode)

    @staticmethod
    def copy(src: str, dst: str, overwrite: bool = False) -> None:
        """Copy one object."""
        if not overwrite and ObjectStoreFilesystem.exists(dst):
            raise FileExistsError(dst)
        bucket_of(dst).write(split(dst)[2], _found(src, lambda: bucket_of(src).read(split(src)[2])))

    @staticmethod
    def exists(path: str) -> bool:
        """Whether there is such an object, or any below it."""
        return _status(path) is not None or not is_empty(path)

    @staticmethod
    def glob(pattern: str) -> list[str]:
        """Objects whose names match, as Beam's file systems have it."""
        scheme, bucket, _ = split(pattern)
        return [f"{scheme}://{bucket}/{one.key}" for one in matching_objects(pattern)]

    @staticmethod
    def isdir(path: str) -> bool:
        """Whether there is any object below it."""
        return not is_empty(path)

    @staticmethod
    def listdir(path: str) -> list[str]:
        """Names of what is directly below it."""
        prefix = below(split(path)[2])
        found = (one.key.removeprefix(prefix) for one in bucket_of(path).objects(prefix))
        return list(dict.fromkeys(name.partition("/")[0] for name in found if name))

    @staticmethod
    def makedirs(path: str) -> None:
        """Nothing needs to be done."""

    @staticmethod
    def mkdir(path: str) -> None:
        """Nothing needs to be done."""

    @staticmethod
    def remove(path: str) -> None:
        """Remove an object; one that is not there is no error, as in object stores."""
        bucket_of(path).delete([split(path)[2]])

    @staticmethod
    def rename(src: str, dst: str, overwrite: bool = False) -> None:
        """Copy, then remove: not at once."""
        ObjectStoreFilesystem.copy(src, dst, overwrite)
        ObjectStoreFilesystem.remove(src)

    @staticmethod
    def rmtree(path: str) -> None:
        """Remove all objects below it; that there is none is no error, for folders are not made either."""
        if _WORKING_FOLDERS not in path:
            discard(path)

    @staticmethod
    def stat(path: str) -> FileStatus:
        """Size and time of change of an object."""
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
        """Folders with what they hold."""
        prefix = below(split(top)[2])
        folders: dict[str, tuple[dict[str, None], list[str]]] = {"": ({}, [])}
        for one in bucket_of(top).objects(prefix):
            *parents, name = one.key.removeprefix(prefix).split("/")
            for depth, parent in enumerate(parents):
                folders["/".join(parents[:depth])][0][parent] = None
                folders.setdefault("/".join(parents[: depth + 1]), ({}, []))
            if name:
                folders["/".join(parents)][1].append(name)
        told = [(f"{top.rstrip('/')}/{folder}".rstrip("/"), list(inner), files)
                for folder, (inner, files) in folders.items()]  # fmt: skip
        return told if topdown else told[::-1]


def matching_objects(pattern: str) -> list[Stored]:
    """Objects whose names match an address with wildcards, in order of key."""
    key = split(pattern)[2]
    matching = re.compile(BeamFileSystem.translate_pattern(key))
    return [one for one in bucket_of(pattern).objects(_WILDCARD.split(key)[0]) if matching.fullmatch(one.key)]


def register() -> None:
    """Let TFX use it in this process. To do so twice changes nothing."""
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
    # In order of key, so that a key comes before those that begin with it.
    first = next(bucket_of(path).objects(key), None) if key else None
    return first if first is not None and first.key == key else None


def _found(name: str, read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except FileNotFoundError as error:
        raise filesystem.NotFoundError(name) from error

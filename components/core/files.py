"""Files that are complete or absent, and their digests."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from components.core.errors import DataError


def is_folder(path: Path) -> bool:
    """Whether a folder is there. Unlike `Path.is_dir`, False too of a path that is too long or that may not be read."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Whether a regular file is there; False as `is_folder` is."""
    return os.path.isfile(path)  # noqa: PTH113


class NotARegularFileError(OSError):
    """A folder, a device, a pipe or a socket is in the place of a file."""


def read_regular(path: Path, limit: int = -1) -> bytes:
    """The content of a regular file, at most `limit` bytes of it; never waits for the writer of a pipe.

    Raises:
        NotARegularFileError: Something else is there.
        OSError: It cannot be read.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotARegularFileError(errno.EINVAL, "Not a regular file", str(path))
        return file.read(limit)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds all of it or what it held before, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; registries and reports are read by others.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_bytes(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path, of_file: Callable[[Path], str] | None = None) -> str:
    """Hexadecimal SHA-256 of a file, or of a folder: of its files' relative names and digests in order of name.

    Args:
        path: The file or the folder.
        of_file: The digest of one file; None reads it.
    """
    if path.is_dir():
        lines = [
            f"{sha256_of(file, of_file)}  {file.relative_to(path).as_posix()}\n"
            for file in sorted(path.rglob("*"))
            if file.is_file()
        ]
        return sha256_of_bytes("".join(lines).encode())
    if of_file is not None:
        return of_file(path)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_unchanged(path: Path, found: str, expected: str) -> None:
    """See that what was read of a source is what it was when the run began.

    Args:
        path: Where it lies.
        found: The SHA-256 of what was read.
        expected: The one that the lineage records.

    Raises:
        DataError: They differ.
    """
    if found != expected:
        raise DataError(
            "this has changed since the pipeline was built",
            where=str(path),
            bound=f"sha256 {expected}",
            measured=found,
            remedy="run again once nothing writes there; for Kubeflow, build the image and compile from the same files",
        )


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files of a folder, in bytes."""
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )

"""Files that are either complete or absent, and their digests."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.errors import DataError


def is_folder(path: Path) -> bool:
    """Whether a folder exists. Unlike `Path.is_dir`, also False for a path that is too long or not readable."""
    return os.path.isdir(path)  # noqa: PTH112


def is_file(path: Path) -> bool:
    """Whether a regular file exists. Unlike `Path.is_file`, also False for a path that is too long or not readable."""
    return os.path.isfile(path)  # noqa: PTH113


def described(path: Path) -> str:
    """Describe what is at a path in a few words, without opening it: `nothing` if nothing is there."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ELOOP:
            return "a loop of symbolic links"
        if os.path.islink(path):  # noqa: PTH114
            return "a symbolic link to nothing"
        return "not accessible" if isinstance(error, PermissionError) else "nothing"
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


class NotARegularFileError(OSError):
    """A path leads to a folder, device, pipe, or socket instead of a file."""


def read_regular(path: Path, limit: int = -1) -> bytes:
    """Read at most `limit` bytes of a regular file, without ever waiting for the writer of a pipe.

    Raises:
        NotARegularFileError: The path leads to something else.
        OSError: The file can't be read.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise NotARegularFileError(errno.EINVAL, "Not a regular file", str(path))
        return file.read(limit)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that, even after a crash, `path` has either all of `content` or its previous content."""
    with _complete(path, content) as temporary:
        temporary.replace(path)


def create_atomically(path: Path, content: bytes) -> None:
    """Write a new file that has all of `content` as soon as it exists.

    Raises:
        FileExistsError: `path` exists; it keeps its content.
    """
    with _complete(path, content) as temporary:
        os.link(temporary, path)


@contextmanager
def _complete(path: Path, content: bytes) -> Iterator[Path]:
    """A complete file next to `path`, to be moved or linked to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private, but other users read registries and reports.
        temporary.chmod(0o644)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of_bytes(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path, of_file: Callable[[Path], str] | None = None) -> str:
    """Hexadecimal SHA-256 of a file, or of a folder's relative file names and their digests, sorted by name.

    Args:
        path: The file or the folder.
        of_file: Computes the digest of one file. By default, the file is read.
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
    """Check that the SHA-256 of the data read from a source is still the one that the lineage records.

    Raises:
        DataError: They differ.
    """
    if found != expected:
        raise DataError(
            "this has changed since the pipeline was built",
            where=str(path),
            bound=f"sha256 {expected}",
            measured=found,
            remedy="run again when nothing writes to it; for Kubeflow, build the image and compile from the same files",
        )


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files in a folder, in bytes."""
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def little_space(folder: Path) -> str:
    """Say how many bytes are free if less than 1 MiB is left; SQLite and TFX don't report a full disk."""
    free = shutil.disk_usage(folder).free
    return f"{free:,} bytes are free in {folder}" if free < 1 << 20 else ""

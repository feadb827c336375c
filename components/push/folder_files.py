"""File operations of a registry in a folder: atomic writes, and explanations of file system errors."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.errors import RegistryUnreachableError
from components.core.files import sync_folder, write_atomically

# A push takes seconds. Files older than this are leftovers of a killed push.
STALE_SECONDS = 3600.0
STAGING_PREFIX = ".staging-"


def is_there(path: Path) -> bool:
    """Return whether a path exists, including broken symbolic links."""
    try:
        path.lstat()  # A broken symbolic link also blocks the path.
    except FileNotFoundError:
        return False
    return True


def stage_and_rename(final: Path, files: dict[str, bytes]) -> None:
    """Write a folder next to its final place and rename it, so that readers see all of it or nothing."""
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=final.parent))
    try:
        for name, content in files.items():
            write_atomically(staging / name, content)
        staging.chmod(0o755)  # mkdtemp makes folders private, but other users read a registry.
        try:
            staging.rename(final)
        except OSError as error:
            # Another push of the same bytes was first. Its release is verified like any existing release.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    sync_folder(final.parent)


def remove_stale(folder: Path, channel: str) -> None:
    """Remove leftovers of killed pushes: staging folders and temporary pointer files. Nothing else is touched."""
    pointers = f".{channel}.json.{'?' * 8}"  # The names that `write_atomically` and mkstemp give them.
    for entry in [*folder.glob(f"{STAGING_PREFIX}*"), *folder.glob(pointers)]:
        try:
            if time.time() - entry.stat().st_mtime < STALE_SECONDS:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
        except FileNotFoundError:
            continue  # A concurrent push removed it.


@contextmanager
def explained(where: Path, needed: int) -> Iterator[None]:
    """Convert file system errors to a RegistryUnreachableError that says how to fix them."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
                what = "there is not enough space for the release"
                room = f"at least {needed:,} bytes" if needed else "some space"
                remedy = f"free up {room} there, or choose another root; then run again"
            case errno.EACCES | errno.EPERM | errno.EROFS:
                what = "there is no permission to write to the registry"
                remedy = "grant write permission on the folder, or choose another root; then run again"
            case errno.ENOTDIR | errno.EEXIST:
                what = "there is a file where the registry needs a folder"
                remedy = "move the file away, or choose another root; then run again"
            case _:
                what = "the registry could not be written"
                remedy = "fix the error in the message; then run again"
        # A temporary name is meaningless to the user.
        place = where if STAGING_PREFIX in str(error.filename) else error.filename or where
        raise RegistryUnreachableError(f"{what}: {error.strerror or error}", where=str(place), remedy=remedy) from error


def probe(folder: Path) -> None:
    """Write a file in the nearest folder that exists, and remove it. Raises an OSError if that isn't possible."""
    while not is_there(folder):
        folder = folder.parent
    with tempfile.TemporaryDirectory(prefix=STAGING_PREFIX, dir=folder) as made:
        (Path(made) / "probe").write_bytes(b"probe")

"""Files of a registry in a folder: written whole or not at all, and what the file system refuses explained."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.errors import RegistryError
from components.core.files import sync_folder, write_atomically

# A push takes seconds; what is older than this was left by one that was killed.
STALE_SECONDS = 3600.0
STAGING_PREFIX = ".staging-"


def is_there(path: Path) -> bool:
    """Whether anything stands at a path, a broken link included."""
    try:
        path.lstat()  # A symbolic link that leads nowhere is there, and in the way.
    except FileNotFoundError:
        return False
    return True


def stage_and_rename(final: Path, files: dict[str, bytes]) -> None:
    """Write a folder beside its final place, and rename it: a reader sees all of it or nothing."""
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=final.parent))
    try:
        for name, content in files.items():
            write_atomically(staging / name, content)
        staging.chmod(0o755)  # mkdtemp makes folders private; a registry is read by others.
        try:
            staging.rename(final)
        except OSError as error:
            # Another pusher of the same bytes was first: its release is verified like any that exists.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    sync_folder(final.parent)


def remove_stale(folder: Path, channel: str) -> None:
    """Remove what killed pushes left: staging folders, and temporary files of the pointer. Nothing else is ours."""
    pointers = f".{channel}.json.{'?' * 8}"  # what `write_atomically` and mkstemp call them
    for entry in [*folder.glob(f"{STAGING_PREFIX}*"), *folder.glob(pointers)]:
        try:
            if time.time() - entry.stat().st_mtime < STALE_SECONDS:
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
        except FileNotFoundError:
            continue  # another pusher cleans too


@contextmanager
def explained(where: Path, needed: int) -> Iterator[None]:
    """Turn what the file system refuses into a RegistryError with a remedy."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
                what = "there is no room for the release"
                room = f"at least {needed:,} bytes" if needed else "some room"
                remedy = f"free {room} there, or choose another root; then run again"
            case errno.EACCES | errno.EPERM | errno.EROFS:
                what = "the registry may not be written"
                remedy = "grant write permission on the folder, or choose another root; then run again"
            case errno.ENOTDIR | errno.EEXIST:
                what = "a file stands where the registry needs a folder"
                remedy = "move the file away, or choose another root; then run again"
            case _:
                what = "the registry could not be written"
                remedy = "fix what the message says; then run again"
        raise RegistryError(
            f"{what}: {error.strerror or error}", where=str(error.filename or where), remedy=remedy
        ) from error

"""SHA-256 of files that rarely change. A file is hashed again only if its status shows that it may have changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from components.core.errors import DataError
from components.core.files import read_regular, sha256_of, write_atomically
from components.core.values import FrozenModel, Watch, unwatched

# File system clocks are coarse: a file that changed more recently may change again without a new timestamp.
_SETTLED_NS = 2_000_000_000


class Remembered(FrozenModel):
    """A digest, and the status of the file that it was computed from.

    No program can set the time of change (ctime) back. It changes even if size and modification time do not.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


class _Memory(FrozenModel):
    """Device and inode -> the digest of that file."""

    files: dict[str, Remembered] = {}


def digests_of(
    files: list[Path],
    memory: Path,
    *,
    rehash: bool = False,
    now_ns: int | None = None,
    watch: Watch = unwatched,
) -> dict[Path, str]:
    """The SHA-256 of each file, from memory if the status of the file has not changed since it was hashed.

    Args:
        files: The files to hash.
        memory: File that stores the digests. If it is missing or damaged, the memory is empty.
        rehash: Read every file, regardless of the memory.
        now_ns: The current time in nanoseconds. By default, the system clock's.
        watch: Called with the number of files that are done.

    Raises:
        DataError: A file can't be read, or changes while it is read.
    """
    before = _read(memory)
    after = dict(before)
    now_ns = time.time_ns() if now_ns is None else now_ns
    found = {}
    for number, file in enumerate(files):
        watch(number, len(files), f"reading {file.name}")
        found[file] = _digest(file, {} if rehash else before, after, now_ns)
    if after != before:
        write_atomically(memory, _Memory(files=after).model_dump_json(indent=1).encode() + b"\n")
    return found


def content_digest(path: Path) -> str:
    """Like `components.core.files.sha256_of`, but rereads a file that this process has hashed only if it may differ.

    Several nodes of a run read the same examples, and each of them hashes them.

    Raises:
        DataError: As for `digests_of`.
    """
    return sha256_of(path, lambda file: _digest(file, _HASHED, _HASHED, time.time_ns()))


_HASHED: dict[str, Remembered] = {}


def _digest(file: Path, before: Mapping[str, Remembered], after: dict[str, Remembered], now_ns: int) -> str:
    """The digest of a file, from `before` or its content. Adds it to `after` if the last change is old enough."""
    try:
        with file.open("rb") as stream:
            status = os.fstat(stream.fileno())
            key = f"{status.st_dev}:{status.st_ino}"
            remembered = before.get(key)
            if remembered is not None and _same(remembered, status):
                return remembered.sha256
            digest = hashlib.sha256()
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
            found = _remember(status, digest.hexdigest())
            if not _same(found, os.fstat(stream.fileno())):
                raise DataError(
                    "the file changed while it was read",
                    where=str(file),
                    remedy="wait until nothing writes to it, and run again",
                )
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}", where=str(file), remedy="give this user read permission"
        ) from error
    after.pop(key, None)
    if status.st_ctime_ns <= now_ns - _SETTLED_NS:
        after[key] = found
    return found.sha256


def _remember(status: os.stat_result, sha256: str) -> Remembered:
    return Remembered(size=status.st_size, mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns, sha256=sha256)


def _same(remembered: Remembered, status: os.stat_result) -> bool:
    return _remember(status, remembered.sha256) == remembered


def _read(memory: Path) -> dict[str, Remembered]:
    try:
        return _Memory.model_validate_json(read_regular(memory)).files
    except (OSError, ValidationError):
        return {}

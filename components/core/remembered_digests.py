"""SHA-256 of files that rarely change: hashed once, and again only after the file system says that they may differ."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from components.core.errors import DataError
from components.core.files import read_regular, sha256_of, write_atomically
from components.core.values import FrozenModel

# A file that changed so recently may change again without another time stamp: clocks of file systems are coarse.
_SETTLED_NS = 2_000_000_000


class Remembered(FrozenModel):
    """A digest, and the status of the file that it was computed from.

    The time of change (ctime) is what no program can set back: it moves even where size and modification time do not.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


class _Memory(FrozenModel):
    """Device and inode -> the digest of that file."""

    files: dict[str, Remembered] = {}


def digests_of(files: list[Path], memory: Path, *, rehash: bool = False, now_ns: int | None = None) -> dict[Path, str]:
    """The SHA-256 of each file, from memory where the status of a file is what it was when it was hashed.

    Args:
        files: What to identify.
        memory: Where digests are remembered. A missing or damaged file is an empty memory.
        rehash: Read every file, whatever is remembered.
        now_ns: The current time; the clock's if None.

    Raises:
        DataError: A file cannot be read, or changes at this moment.
    """
    before = _read(memory)
    after = dict(before)
    now_ns = time.time_ns() if now_ns is None else now_ns
    found = {file: _digest(file, {} if rehash else before, after, now_ns) for file in files}
    if after != before:
        write_atomically(memory, _Memory(files=after).model_dump_json(indent=1).encode() + b"\n")
    return found


def content_digest(path: Path) -> str:
    """As `components.core.files.sha256_of`, but what this process has hashed is read again only where it may differ.

    Several nodes of a run read the same examples, and each of them identifies them.

    Raises:
        DataError: As for `digests_of`.
    """
    return sha256_of(path, lambda file: _digest(file, _HASHED, _HASHED, time.time_ns()))


_HASHED: dict[str, Remembered] = {}


def _digest(file: Path, before: Mapping[str, Remembered], after: dict[str, Remembered], now_ns: int) -> str:
    """The digest of a file, from `before` or its content; `after` has it from then on if it is old enough."""
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
                    "the file changes while it is read",
                    where=str(file),
                    remedy="wait until whatever writes it is done",
                )
    except OSError as error:
        raise DataError(
            f"the file cannot be read: {error.strerror}", where=str(file), remedy="let this user read it"
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

"""Locks a pipeline's folder for any number of runs, or for one removal. Uses POSIX record locks: a killed process
releases them, child processes don't inherit them, and NFS supports them."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from components.core.errors import SpecError

_NAME = ".lock"


def running(folder: Path) -> AbstractContextManager[None]:
    """Prevent removals below a pipeline's folder. Raises a SpecError if one is in progress."""
    return _locked(folder, fcntl.LOCK_SH, "old runs are being removed here", "wait for `edgemill clean` to end")


def removing(folder: Path) -> AbstractContextManager[None]:
    """Prevent runs below a pipeline's folder. Raises a SpecError if a run or another removal is in progress."""
    return _locked(folder, fcntl.LOCK_EX, "a run is in progress here", "clean after it ends")


@contextmanager
def _locked(folder: Path, kind: int, what: str, remedy: str) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _NAME).open("a+")
    except OSError as error:
        raise SpecError(
            "this folder cannot be written", where=str(folder), measured=error.strerror, remedy="choose another --root"
        ) from error
    with file:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EAGAIN}:
                raise SpecError(what, where=str(folder), remedy=remedy) from error
            raise SpecError(
                "this folder cannot be locked",
                where=str(folder),
                measured=error.strerror,
                remedy="put the root on a file system with POSIX locks",
            ) from error
        yield

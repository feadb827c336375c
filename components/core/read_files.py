"""Records which files user code reads, because its results depend on them just like on its own source."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from components.core.files import is_file
from components.core.version import is_installed

_OURS = tuple(f"{Path(__file__).resolve().parents[2] / name}{os.sep}"
              for name in ("components", "pipelines", "kubeflow", "edgemill"))  # fmt: skip
# File -> the modules of user code that have read it in this process. Python imports a module, and reads it, only once.
_READ: dict[str, set[str]] = {}
_recording = 0
_hooked = False


@contextmanager
def recording() -> Iterator[None]:
    """Within this context, record the files that user code opens with Python's `open`, directly or in a library.

    Reads in native code, such as HDF5's and TensorFlow's, are not detected.
    """
    global _recording, _hooked  # noqa: PLW0603
    if not _hooked:
        sys.addaudithook(_hook)  # Permanently, because Python has no way to remove it.
        _hooked = True
    _recording += 1
    try:
        yield
    finally:
        _recording -= 1


def files_read(folders: Collection[Path]) -> list[Path]:
    """Return the files that user code has read: Python modules from anywhere, and other files in these folders.

    Installed packages, Edgemill itself, hidden files and folders, and files that no longer exist are left out.
    """
    found: set[str] = set()
    known = -1
    # The files that a module from elsewhere reads count if a module in these folders imports it.
    while known < (known := len(found)):
        for name, readers in _READ.items():
            # Python and TensorFlow also read the source of the module that runs, which counts anyway.
            ours = (reader in found or _inside(Path(reader), folders) for reader in readers - {name})
            if any(ours) and _counts(Path(name), folders):
                found.add(name)
    return sorted(map(Path, found))


def _inside(path: Path, folders: Collection[Path]) -> Path | None:
    return next((path.relative_to(folder) for folder in folders if path.is_relative_to(folder)), None)


def _counts(path: Path, folders: Collection[Path]) -> bool:
    inside = _inside(path, folders)
    if path.suffix != ".py" and (inside is None or any(part.startswith(".") for part in inside.parts)):
        return False
    return is_file(path) and not str(path).startswith(_OURS) and not is_installed(path)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _recording or event != "open":
        return
    name, mode, flags = arguments
    writes = set(mode) & set("wax+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
    own = inspect.currentframe()
    if not writes and isinstance(name, str | bytes | os.PathLike) and (reader := _reader(own and own.f_back)):
        _READ.setdefault(_source(os.path.realpath(os.fsdecode(name))), set()).add(reader)


def _reader(frame: FrameType | None) -> str:
    """The file of the user's code that is nearest in the stack, if it is nearer than Edgemill; empty otherwise."""
    while frame is not None:
        file = frame.f_code.co_filename
        owner = _owner(file)
        if owner != "library":
            return os.path.realpath(file) if owner == "user" else ""
        frame = frame.f_back
    return ""


@functools.cache
def _owner(file: str) -> str:
    if file.startswith("<") or is_installed(Path(file)):
        return "library"
    return "edgemill" if os.path.realpath(file).startswith(_OURS) else "user"


def _source(path: str) -> str:
    """The source of compiled Python code, or the file itself."""
    if not path.endswith(".pyc"):
        return path
    try:
        return importlib.util.source_from_cache(path)
    except ValueError:
        return path

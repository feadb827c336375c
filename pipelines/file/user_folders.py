"""The folders in which the user's modules are found: the working directory, and the pipeline file's folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.files import is_folder
from components.core.version import LOOKED_INTO

# Our own top-level packages, and the folder that holds them.
OURS = ("components", "pipelines", "kubeflow", "edgemill")
_OUR_ROOT = Path(__file__).resolve().parents[2]


def make_importable(file: Path) -> None:
    """Put the working directory and the pipeline file's folder, in this order, on the Python path for the task.

    Beam workers and conversion child processes inherit the path through PYTHONPATH. If one of these folders contains a
    package with the name of one of Edgemill's, Edgemill's folder goes first, here and in the children, so that
    they don't import the wrong package.
    """
    folders = _folders(file)
    if folders[0] == str(_OUR_ROOT) != str(Path.cwd()):
        # Children are started with `-c` and `-m`, which put the working directory before PYTHONPATH (Python >= 3.11).
        os.environ["PYTHONSAFEPATH"] = "1"
    sys.path[:] = dict.fromkeys([*folders, *sys.path])
    inherited = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*folders, *filter(None, inherited.split(os.pathsep))]))


@contextmanager
def findable(file: Path) -> Iterator[None]:
    """Within this context, find the source of the task like `make_importable`, but import nothing from its folders.

    Otherwise, a library that a check imports could be a module of the project, which would be executed.
    """
    before = list(LOOKED_INTO)
    LOOKED_INTO[:] = _folders(file)
    try:
        yield
    finally:
        LOOKED_INTO[:] = before


def _folders(file: Path) -> list[str]:
    # Not `resolve`: it raises an error for circular symbolic links, which reading the file reports.
    folders = [str(Path.cwd())]
    # Python opens any other path entry as an archive, and opening a pipe blocks until it has a writer.
    if is_folder(beside := Path(os.path.realpath(file)).parent):
        folders.append(str(beside))
    shadowed = any(_shadowing(folder, name) for folder in folders for name in OURS)
    return [str(_OUR_ROOT), *folders] if shadowed else folders


def _shadowing(folder: str, name: str) -> Path | None:
    """Return what `import name` would find in a folder, if that isn't Edgemill's own."""
    found = [path for path in (Path(folder, name), Path(folder, f"{name}.py")) if path.exists()]
    return found[0] if found and Path(folder).resolve() != _OUR_ROOT else None


def package_called_like_ours(name: str) -> Path | None:
    """Return the user's package whose name is one of Edgemill's, or None if there isn't one or the name is not."""
    folders = [*LOOKED_INTO, *sys.path] if name in OURS else []
    return next(filter(None, (_shadowing(folder, name) for folder in folders)), None)

"""The folders that contain the user's modules: the working directory, and the pipeline file's folder."""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.core.files import is_folder
from components.core.version import LOOKED_INTO, OURS, forget_versions, is_users

# The folder of Edgemill's own packages.
_OUR_ROOT = Path(__file__).resolve().parents[2]


def make_importable(file: Path) -> None:
    """Put the working directory and the pipeline file's folder, in this order, on the Python path for the task.

    Beam workers and conversion child processes inherit the path through PYTHONPATH. If one of these folders contains a
    package with the name of one of Edgemill's, Edgemill's folder goes first, here and in the children, so that
    they don't import the wrong package.

    Modules that another pipeline of this process imported under the same name, such as its `task`, are forgotten.
    """
    folders = _folders(file)
    if folders[0] == str(_OUR_ROOT) != str(Path.cwd()):
        # Children are started with `-c` and `-m`, which put the working directory before PYTHONPATH. PYTHONSAFEPATH
        # prevents that (Python >= 3.11).
        os.environ["PYTHONSAFEPATH"] = "1"
    sys.path[:] = dict.fromkeys([*folders, *sys.path])
    inherited = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*folders, *filter(None, inherited.split(os.pathsep))]))
    _forget_replaced(folders)


def _forget_replaced(folders: list[str]) -> None:
    """Remove the user's modules that Python would now import from other files, with the modules in them."""
    importlib.invalidate_caches()
    forget_versions()
    for name, module in list(sys.modules.items()):
        if "." in name or not is_users(module):
            continue
        found = importlib.machinery.PathFinder.find_spec(name, folders)
        if found is not None and found.origin not in {None, module.__spec__ and module.__spec__.origin}:
            for inner in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
                del sys.modules[inner]


@contextmanager
def findable(file: Path) -> Iterator[None]:
    """Within this context, find the source of the task like `make_importable`, but don't import from its folders.

    Otherwise, a library that a check imports could be a module of the project, which would be executed.
    """
    before = list(LOOKED_INTO)
    LOOKED_INTO[:] = _folders(file)
    forget_versions()
    try:
        yield
    finally:
        LOOKED_INTO[:] = before
        forget_versions()


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
    """Return the user's package if its name is one of Edgemill's; None if there is no such package."""
    folders = [*LOOKED_INTO, *sys.path] if name in OURS else []
    return next(filter(None, (_shadowing(folder, name) for folder in folders)), None)

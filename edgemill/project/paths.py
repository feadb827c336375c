"""Suggests existing paths that are close to a wrong one on the command line."""

from __future__ import annotations

import difflib
from pathlib import Path

from components.core.errors import some_of
from components.core.files import is_folder

_MOST_NAMED = 5


def beside(path: Path, suffixes: tuple[str, ...]) -> str:
    """Say how to correct a path that doesn't exist: the closest name in its folder, or the content of the folder.

    Args:
        path: The path.
        suffixes: Ends of the names of files to list if none is similar. Folders are always listed.
    """
    folder = path.parent
    if not is_folder(folder):
        folder = next((each for each in folder.parents if is_folder(each)), Path())
        return f"correct the path; of its folders, only {_shown(folder)} exists{_held(folder, 'it', suffixes)}"
    names = [each.name for each in _visible(folder)]
    near = difflib.get_close_matches(path.name, names, n=3)
    # People forget the suffix more often than they mistype it.
    near = near or [name for name in names if path.stem and Path(name).stem == path.stem]
    if near:
        return f"did you mean {' or '.join(str(folder / name) for name in near)}?"
    relative = "" if path.is_absolute() else f"; it is relative to {Path.cwd()}"
    return f"correct the path{relative}{_held(folder, _shown(folder), suffixes)}"


def _held(folder: Path, name: str, suffixes: tuple[str, ...]) -> str:
    names = [
        f"{each.name}/" if is_folder(each) else each.name
        for each in _visible(folder)
        if is_folder(each) or each.suffix.lower() in suffixes
    ]
    return f", and {name} contains {some_of(names, _MOST_NAMED)}" if names else ""


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    except OSError:
        return []


def _shown(folder: Path) -> str:
    return "the working directory" if folder == Path() else str(folder)

"""Code versions: TFX's cache key holds inputs and parameters but not the executor's code, so we put it there."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import sys
from collections.abc import Iterator
from pathlib import Path


@functools.cache
def code_version(module: str) -> str:
    """A digest of a module's source and of every module of the same project that it imports, directly or not.

    Only source text is read; nothing is imported. "The same project" is the same top-level package, and
    `components` for a task that builds on it.

    Args:
        module: A dotted module name, importable from `sys.path`.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, source in sorted(_closure(module).items()):
        digest.update(f"{name}\0{hashlib.sha256(source).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def find_source(module: str) -> Path | None:
    """The file of a module without importing it or its parents; None if it is not found or has no source."""
    search: list[str] | None = [str(Path.cwd()) if entry == "" else entry for entry in sys.path]
    spec = None
    for part in _prefixes(module):
        spec = importlib.machinery.PathFinder.find_spec(part, search)
        if spec is None:
            return None
        search = list(spec.submodule_search_locations) if spec.submodule_search_locations else []
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _prefixes(module: str) -> Iterator[str]:
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        yield ".".join(parts[:end])


def _closure(module: str) -> dict[str, bytes]:
    projects = {module.partition(".")[0], "components"}
    sources: dict[str, bytes] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in sources or name.partition(".")[0] not in projects:
            continue
        path = find_source(name)
        if path is None:
            continue
        sources[name] = path.read_bytes()
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting.extend(_imports(sources[name], package))
    return sources


def _imports(source: bytes, package: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            yield base
            # `from package import module` names a module, `from module import name` does not: both are tried.
            yield from (f"{base}.{alias.name}" for alias in node.names)

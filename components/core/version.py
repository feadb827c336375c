"""Code versions, which are parameters of nodes: TFX's cache key covers parameters but not the code of executors."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from types import ModuleType

from components.core.errors import SpecError
from components.core.files import is_file, is_folder

# Their code also affects the outputs. Reading their versions doesn't import them.
LIBRARIES = (
    "tensorflow",
    "tf-keras",
    "tensorflow-model-optimization",
    "tfx",
    "tensorflow-model-analysis",
    "tensorflow-transform",
    "ai-edge-quantizer",
    "ethos-u-vela",
    "tflite-micro",
)
# Edgemill's top-level packages.
OURS = ("components", "pipelines", "kubeflow", "edgemill")
_INSTALLED_FOLDERS = {"site-packages", "dist-packages"}
_STANDARD_LIBRARY = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})
# Folders that `find_source` searches before Python's folders, so that Python imports nothing from them.
LOOKED_INTO: list[str] = []


@functools.cache
def code_version(module: str) -> str:
    """A digest of a module's source, of the user's and Edgemill's source that it imports, and of library versions.

    Only source text is read, and nothing is imported. Direct and indirect imports are followed if they are from the
    module's own top-level package, from `components` or `edgemill`, or from neither an installed package nor the
    standard library.

    Args:
        module: Dotted name of a module that `find_source` can find.

    Returns:
        16 hexadecimal digits.

    Raises:
        SpecError: The module has no source, so changes to it can't be detected.
    """
    if find_source(module) is None:
        raise SpecError(
            f"the module {module!r} has no source that can be found, so its version cannot be computed",
            where=module,
            remedy="run from the folder that contains it, or install it with its .py files",
        )
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(f"{library}=={library_version(library)}\n".encode())
    for name, source in sorted(_closure(module).items()):
        digest.update(f"{name}\0{hashlib.sha256(source).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def find_source(module: str) -> Path | None:
    """The file of a module, found without importing it or its parents; None if it isn't found or has no source.

    All of Python's finders look up the top-level name, as in an import, because an editable installation has its own
    finder.
    """
    top, *inner = module.split(".")
    # An imported module stays the one that Python finds, unless it belongs to another pipeline.
    stays = top in sys.modules and not is_users(sys.modules[top])
    looked_up = None if stays else importlib.machinery.PathFinder.find_spec(top, list(LOOKED_INTO))
    try:
        # A folder without `__init__.py` is a package only if there is no other.
        spec = looked_up if looked_up is not None and looked_up.loader else importlib.util.find_spec(top) or looked_up
    except ValueError:  # `__main__`, or a module that was created in code.
        return None
    if spec is None:
        return None
    origin = Path(spec.origin) if spec.origin else None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    for part in inner:
        # importlib's PathFinder can't be used: it requires that the parent of a namespace package is imported.
        origin = next(filter(is_file, _sources(folders, part)), None)
        in_package = origin is None or origin.name == "__init__.py"
        folders = [folder / part for folder in folders if is_folder(folder / part)] if in_package else []
    return origin if origin is not None and origin.suffix == ".py" else None


def _sources(folders: list[Path], name: str) -> Iterator[Path]:
    for folder in folders:
        yield folder / name / "__init__.py"
        yield folder / f"{name}.py"


@functools.cache
def library_version(library: str) -> str:
    """Return the version of an installed library; empty if it isn't installed. Doesn't import it."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _closure(module: str) -> dict[str, bytes]:
    # A task imports public names from `edgemill`, which may be an installed package.
    projects = {module.partition(".")[0], "components", "edgemill"}
    sources: dict[str, bytes] = {}
    waiting, seen = [module], set()
    while waiting:
        if (name := waiting.pop()) in seen:
            continue
        seen.add(name)
        path, installed = _file_of(name) if name else (None, False)
        if path is None or (installed and name.partition(".")[0] not in projects):
            continue
        sources[name], imports = _content_of(name, path)
        waiting.extend(imports)
    return sources


# Cached, because most modules are imported by many nodes.
@functools.cache
def _file_of(name: str) -> tuple[Path | None, bool]:
    """The file of a module, as in `find_source`, and whether it is installed."""
    path = find_source(name)
    return path, path is not None and is_installed(path)


@functools.cache
def _content_of(name: str, path: Path) -> tuple[bytes, tuple[str, ...]]:
    """The source of a module, and the names of the modules that it may import, and of its parent packages."""
    source = path.read_bytes()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    # Importing a module first runs its parent packages.
    return source, tuple(dict.fromkeys((*_imports(source, package), *accumulate(name.split("."), "{}.{}".format))))


def forget_versions() -> None:
    """Compute code versions again when they are next used, because modules or the folders to search changed."""
    for cached in (code_version, _file_of, _content_of):
        cached.cache_clear()


def is_installed(path: Path) -> bool:
    """Whether a file belongs to an installed package or to the standard library."""
    resolved = path.resolve()
    return bool(_INSTALLED_FOLDERS & set(resolved.parts)) or any(map(resolved.is_relative_to, _STANDARD_LIBRARY))


def is_users(module: ModuleType) -> bool:
    """Whether a module is from a file of the user: not of Edgemill, an installed package, or the standard library."""
    file = getattr(module, "__file__", None)
    name = module.__name__.partition(".")[0]
    return file is not None and name not in {"__main__", *OURS} and not is_installed(Path(file))


def _imports(source: bytes, package: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Importing it fails with its own error. The digest still covers its bytes.
        return
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([base] if base else [])])
            yield base
            # `from package import module` names a module and `from module import name` doesn't, so both are tried.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements, and what contains statements. `ast.walk` also visits expressions, ten times as many."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            # The body of a lambda and of a conditional expression is no list.
            if isinstance(within := getattr(node, name, None), list):
                waiting.extend(within)

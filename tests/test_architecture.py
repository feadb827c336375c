"""The rules of docs/architecture.md, checked against the code. Each test lists every offender."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from components.core.version import _imports

ROOTS = ("components", "pipelines", "kubeflow", "edgemill")
MODULES = [path for root in ROOTS for path in sorted(Path(root).rglob("*.py"))]

# A module imports from its own package and from packages further down only.
LAYERS = (
    {"edgemill"},
    {"kubeflow"},
    {"pipelines"},
    {"challenge", "champion"},
    {"device_check", "explain"},
    {"changes", "evaluate"},
    {
        "baseline",
        "calibrate",
        "cluster",
        "convert",
        "device_client",
        "gate",
        "ingest",
        "predict",
        "prune",
        "push",
        "quantize",
        "validate",
    },
    {"lowering", "tfx"},
    {"fake_quantize"},
    {"fine_tune", "cells"},
    {"card", "model", "metrics"},
    {"facts", "ranges"},
    {"spec", "data"},
    {"trust"},
    {"object_store"},
    {"upstream"},
    {"core"},
)
RANK = {package: -index for index, layer in enumerate(LAYERS) for package in layer}
LONGEST_MODULE, MOST_MODULES = 300, 12


def package_of(name: str) -> str | None:
    """The package that the rules are about: a folder of `components`, or another top-level package as a whole."""
    root, _, inner = name.partition(".")
    return (inner.partition(".")[0] or None) if root == "components" else root if root in ROOTS else None


def imported(path: Path) -> Iterator[str]:
    yield from _imports(path.read_bytes(), ".".join(path.parent.parts))


def at_import_time(path: Path) -> set[str]:
    """Top-level packages imported when the module is, not inside functions or for type checking."""
    names: set[str] = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_imports_point_down() -> None:
    offenders = []
    for path in MODULES:
        own = package_of(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
        for name in imported(path):
            other = package_of(name)
            # The tasks of shipped pipelines are written as users write theirs.
            if path.name == "task.py" and other == "edgemill":
                continue
            if own is not None and other in RANK and other != own and RANK[other] >= RANK[own]:
                offenders.append(f"{path} imports {name}")
    assert not offenders, "\n".join(sorted(set(offenders)))
    unranked = {package_of(".".join(path.parts)) for path in MODULES} - set(RANK) - {"__init__"}
    assert not unranked, f"give these packages a layer: {sorted(map(str, unranked))}"


def test_only_shells_import_tfx() -> None:
    # An ExampleGen executor is a shell by itself, and so is what shells share.
    shells = {
        Path("components/ingest/made.py"),
        Path("components/ingest/parquet.py"),
        Path("components/fine_tune/shell.py"),
        Path("components/tfx/candidate_inputs.py"),
        Path("components/upstream/tfx/dsl.py"),
        Path("components/upstream/tfx/example_validator.py"),
    }
    pure = [path for path in MODULES if path.parts[0] == "components" and path.name != "component.py"]
    offenders = [str(path) for path in pure if "tfx" in at_import_time(path) and path not in shells]
    offenders += [f"{path}: tfx.v1" for path in MODULES if any(name.startswith("tfx.v1") for name in imported(path))]
    assert not offenders, "\n".join(offenders)


def test_modules_and_packages_stay_small() -> None:
    offenders = [
        f"{path}: {lines} lines" for path in MODULES if (lines := path.read_bytes().count(b"\n")) > LONGEST_MODULE
    ]
    modules: dict[Path, list[Path]] = defaultdict(list)
    for path in MODULES:
        if path.name != "__init__.py":
            modules[path.parent].append(path)
    for folder, inside in modules.items():
        has_packages = any(other != folder and folder in other.parents for other in modules)
        if len(inside) > MOST_MODULES and not has_packages:
            offenders.append(f"{folder}: {len(inside)} modules")
    assert not offenders, "\n".join(offenders)


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    names = {".".join(path.with_suffix("").parts): path for path in MODULES if path.name != "__init__.py"}
    graph = {
        module: {name for found in imported(path) for name in (found, found.rpartition(".")[0])} & set(names) - {module}
        for module, path in names.items()
    }
    TopologicalSorter(graph).prepare()  # raises a CycleError that lists the modules


def test_folders_of_pipelines_do_not_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        if path.parts[0] == "pipelines" and len(path.parts) > 2:
            own = path.parts[1]
            others = {name.split(".")[1] for name in imported(path) if name.startswith("pipelines.")}
            graph[own] |= {other for other in others if other != own and Path("pipelines", other).is_dir()}
    TopologicalSorter(graph).prepare()  # raises a CycleError that lists the folders

"""The rules of docs/architecture.md, held against the imports of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from components.core.version import _imports
from edgemill.main import app
from kubeflow.environment import EnvironmentFile, KubeflowEnvironment, read_environment
from pipelines.file.load import load_pipeline

MODULES = [
    path for room in ("components", "pipelines", "kubeflow", "edgemill") for path in sorted(Path(room).rglob("*.py"))
]
TECHNIQUES = {
    "baseline",
    "calibrate",
    "convert",
    "device_check",
    "evaluate",
    "gate",
    "ingest",
    "prune",
    "cluster",
    "push",
    "quantize",
    "validate",
}
# Where a technique may read another's words: what it cannot be understood without.
ALLOWED = {
    ("convert", "components.spec.scheme"),
    ("convert", "components.spec.ranges"),
    ("convert", "components.ranges.histogram"),
    ("convert", "components.ranges.range_estimators"),
    ("convert", "components.quantize.recurrent"),
    ("evaluate", "components.spec.scheme"),
    ("prune", "components.spec.scheme"),
}


def imported(path: Path) -> Iterator[str]:
    package = ".".join(path.parent.parts)
    yield from _imports(path.read_bytes(), package)


def at_import_time(path: Path) -> set[str]:
    """Top-level packages imported when the module is, not inside functions or for type checking."""
    names: set[str] = set()
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_arrows_point_one_way(path: Path) -> None:
    room = path.parts[0]
    above = {
        "components": ("pipelines", "edgemill", "kubeflow"),
        "pipelines": ("edgemill", "kubeflow"),
        "kubeflow": ("edgemill",),
        "edgemill": (),
    }
    assert not [name for name in imported(path) if name.partition(".")[0] in above[room]]
    assert not [name for name in imported(path) if name.startswith("tfx.v1")]


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[0] == "components" and len(p.parts) > 2], ids=str)
def test_technique_folders_never_import_each_other(path: Path) -> None:
    own = path.parts[1]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "components" and len(parts) > 1 and parts[1] in TECHNIQUES - {own}:
            assert any(folder == own and name.startswith(module) for folder, module in ALLOWED), (
                f"{path} imports {name}"
            )


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.name != "component.py" and p.parts[0] == "components"], ids=str
)
def test_only_shells_know_tfx(path: Path) -> None:
    # An ExampleGen executor is a shell by itself, and what shells have in common is one too.
    shells = {Path("components/ingest/parquet.py"), Path("components/tfx/candidate_inputs.py")}
    assert "tfx" not in at_import_time(path) or path in shells


def blocks(file: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", Path(file).read_text(), re.MULTILINE | re.DOTALL)


def readme_blocks(language: str) -> list[str]:
    return blocks("README.md", language)


def test_pipeline_file_in_the_readme_is_valid(tmp_path: Path) -> None:
    (block,) = readme_blocks("yaml")
    (tmp_path / "pipeline.yaml").write_text(block)
    assert load_pipeline(tmp_path / "pipeline.yaml").spec.recipes


def test_recipes_in_the_docs_are_valid(tmp_path: Path) -> None:
    (readme,) = readme_blocks("yaml")
    (block,) = blocks("docs/recovery.md", "yaml")
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({**yaml.safe_load(readme), **yaml.safe_load(block)}))
    recipes = load_pipeline(tmp_path / "pipeline.yaml").spec.recipes
    assert {recipe.scheme.calibration_method.kind for recipe in recipes} == {"min_max", "percentile", "mse", "entropy"}
    assert {recipe.scheme.keep_float.kind for recipe in recipes if recipe.scheme.keep_float} == {"auto", "layers"}


def test_pipeline_file_in_the_readme_is_the_example() -> None:
    (block,) = readme_blocks("yaml")
    assert yaml.safe_load(block) == yaml.safe_load(Path("pipelines/fashion_mnist/pipeline.yaml").read_text())


def test_readme_names_only_commands_and_targets_that_exist() -> None:
    text = Path("README.md").read_text()
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    named = set(re.findall(r"edgemill ([a-z]+) ", " ".join(readme_blocks("sh"))))
    assert named >= {"run", "validate", "compile", "clean"}
    assert named <= commands
    makefile = Path("Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_environment_file_for_kubeflow_is_valid_and_the_docs_know_its_fields() -> None:
    found = read_environment(Path("kubeflow/environment.example.yaml"))
    assert found.kubeflow is not None
    text = Path("docs/kubeflow.md").read_text()
    for field in (*EnvironmentFile.model_fields, *KubeflowEnvironment.model_fields):
        assert f"`{field}`" in text or f"`kubeflow.{field}`" in text or field in {"kubeflow", "image_pull_secret"}, (
            field
        )

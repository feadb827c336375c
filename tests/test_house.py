"""Documents and examples are valid, and name only what exists."""

import re
from pathlib import Path

import yaml

from edgemill.main import app
from kubeflow.environment import EnvironmentFile, KubeflowEnvironment, read_environment
from pipelines.file.load import load_pipeline


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

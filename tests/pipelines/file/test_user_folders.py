"""Two pipelines in one process, each with a module `task` next to its file."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core.version import code_version
from components.data.objects import load_object
from pipelines.file.user_folders import findable, make_importable


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        package = tmp_path / name / "own_layers"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "scale.py").write_text(f"SCALE = {name!r}\n")
        (tmp_path / name / "task.py").write_text("from own_layers.scale import SCALE\nTASK = SCALE\n")
    yield [tmp_path / name / "pipeline.yaml" for name in ("first", "second")]
    for module in ("task", "own_layers", "own_layers.scale"):
        sys.modules.pop(module, None)


def test_each_pipeline_gets_the_task_beside_its_file(files: list[Path]) -> None:
    found = []
    for file in (*files, files[0]):
        make_importable(file)
        found.append(load_object("task:TASK", "task"))
    assert found == ["first", "second", "first"]


def test_module_that_is_still_the_same_is_not_imported_again(files: list[Path]) -> None:
    make_importable(files[0])
    load_object("task:TASK", "task")
    before = sys.modules["task"], sys.modules["own_layers.scale"], sys.modules[__name__]
    make_importable(files[0])
    assert before == (sys.modules["task"], sys.modules["own_layers.scale"], sys.modules[__name__])


def test_version_of_a_task_is_that_of_the_pipeline_being_checked(files: list[Path]) -> None:
    make_importable(files[0])
    load_object("task:TASK", "task")
    first = code_version("task")
    with findable(files[1]):
        second = code_version("task")
    assert second != first == code_version("task")
    make_importable(files[1])
    assert code_version("task") == second

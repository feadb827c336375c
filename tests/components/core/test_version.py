import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.core import version as version_module
from components.core.errors import SpecError
from components.core.version import code_version, find_source, forget_versions


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "till.py").write_text("from shop import prices\nimport json\n")
    (folder / "prices.py").write_text("from .taxes import rate\n")
    (folder / "taxes.py").write_text("rate = 0.19\n")
    (folder / "stock.py").write_text("raise RuntimeError('imported')\n")
    return folder


def version(module: str) -> str:
    forget_versions()
    version_module.library_version.cache_clear()
    return code_version(module)


@pytest.mark.parametrize("changed", ["till.py", "prices.py", "taxes.py", "__init__.py"])
def test_version_changes_when_imported_source_changes(package: Path, changed: str) -> None:
    before = version("shop.till")
    with (package / changed).open("a") as file:
        file.write("# changed\n")
    assert version("shop.till") != before


def test_version_stays_when_other_source_changes(package: Path) -> None:
    before = version("shop.till")
    (package / "stock.py").write_text("pass\n")
    assert version("shop.till") == before


def test_version_imports_nothing(package: Path) -> None:
    version("shop.stock")
    assert "shop" not in sys.modules


def test_version_changes_when_a_module_beside_a_task_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "flat_task.py").write_text("import numpy\nimport json\nfrom flat_net import build\n")
    (tmp_path / "flat_net.py").write_text("import flat_layers.dense\n")
    (tmp_path / "flat_layers").mkdir()  # a namespace package
    (tmp_path / "flat_layers" / "dense.py").write_text("units = 8\n")
    assert set(version_module._closure("flat_task")) == {"flat_task", "flat_net", "flat_layers.dense"}
    before = version("flat_task")
    (tmp_path / "flat_layers" / "dense.py").write_text("units = 9\n")
    assert version("flat_task") != before


def test_version_changes_when_a_package_around_the_module_changes(package: Path) -> None:
    before = version("shop.stock")
    (package / "__init__.py").write_text("import os\n")
    assert version("shop.stock") != before


@pytest.mark.parametrize("library", version_module.LIBRARIES)
def test_version_changes_when_a_library_does(package: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    before, installed = version("shop.till"), importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0.1" if name == library else installed(name))
    assert version("shop.till") != before


def test_version_of_a_module_without_source_is_refused(package: Path) -> None:
    for name in ("shop.nowhere", "nowhere", "_struct"):
        with pytest.raises(SpecError, match=f"the module '{name}' has no source"):
            version(name)


def test_versions_are_the_same_wherever_the_command_runs(tmp_path: Path) -> None:
    components = ["gate", "evaluate", "device_check", "convert", "baseline", "calibrate", "push", "validate"]
    modules = [f"components.{name}.component" for name in components]
    code = f"from components.core.version import code_version\nfor module in {modules}: print(code_version(module))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    versions = done.stdout.split()
    assert len(set(versions)) == len(components)
    assert versions == [version(module) for module in modules]


def test_component_version_follows_shared_modules_but_not_other_techniques() -> None:
    names = set(version_module._closure("components.gate.component"))
    assert {"components.gate.policy", "components.facts.decision", "components.facts.manifest"} <= names
    assert not any(name.startswith(("components.convert", "components.push")) for name in names)


def test_source_of_missing_module_is_none() -> None:
    assert find_source("components.nowhere") is None
    assert find_source("nowhere.at.all") is None
    assert find_source("components.core.version") == Path("components/core/version.py").resolve()


@pytest.mark.parametrize("content", ["print 'Python 2'\n", "a = 1\0\n", "-" * 100_000 + "1\n"])
def test_source_that_is_no_python_counts_by_its_bytes(package: Path, content: str) -> None:
    (package / "taxes.py").write_text(content)
    before = version("shop.till")
    (package / "taxes.py").write_text(content + "# changed\n")
    assert version("shop.till") != before

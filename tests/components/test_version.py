import sys
from pathlib import Path

import pytest

from components.version import code_version, find_source


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
    code_version.cache_clear()
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


def test_component_version_follows_shared_modules_but_not_other_techniques() -> None:
    from components import version as module

    names = set(module._closure("components.gate.component"))
    assert {"components.gate.policy", "components.report", "components.manifest"} <= names
    assert not any(name.startswith(("components.convert", "components.push")) for name in names)


def test_source_of_missing_module_is_none() -> None:
    assert find_source("components.nowhere") is None
    assert find_source("nowhere.at.all") is None
    assert find_source("components.version") == Path("components/version.py").resolve()

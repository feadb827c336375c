"""What `pip install` of the wheel gives outside the checkout, and what names the version."""

import json
import os
import re
import shutil
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

from tests.processes import finished
from tests.small_pipeline import SmallPipeline

PACKAGES = ("components", "edgemill", "kubeflow", "pipelines")
# What builds images needs the checkout.
CHECKOUT_ONLY = {
    "kubeflow/Containerfile",
    "kubeflow/build_image.sh",
    "kubeflow/debian_root.sh",
    "kubeflow/debian_server.sh",
}
VERSION = re.search(r'^version = "(.*)"$', Path("pyproject.toml").read_text(), re.MULTILINE)[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(name, source)
    code = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    done = finished([sys.executable, "-c", code], cwd=source)
    assert done.returncode == 0, done.stderr
    (found,) = (source / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a fresh environment with the wheel. It sees the locked libraries, not the checkout."""
    place = tmp_path_factory.mktemp("fresh") / "venv"
    finished([sys.executable, "-m", "venv", place], check=True)
    (packages,) = place.glob("lib/*/site-packages")
    # Files of a folder that a .pth file names, such as that of the editable install, are not read.
    (packages / "locked.pth").write_text(sysconfig.get_path("purelib"))
    pip = [place / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    finished([*pip, "--no-index", "--no-deps", "--no-compile", wheel], check=True, env=outside())
    return place / "bin"


def outside() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(installed: Path, folder: Path, *arguments: str) -> str:
    done = finished([installed / "edgemill", *arguments], cwd=folder, env=outside())
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    files = {str(path) for package in PACKAGES for path in Path(package).rglob("*") if path.is_file()}
    files = {name for name in files if "__pycache__" not in name} - CHECKOUT_ONLY
    assert files - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_installed_command_validates_a_pipeline_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "--version").splitlines()[0] == f"edgemill {VERSION}"
    file = SmallPipeline(tmp_path).write()
    found = json.loads(run(installed, tmp_path, "validate", str(file), "--json"))
    # The device profile is one that the wheel ships.
    assert found["devices"] == ["phone_cpu"]


def test_installed_package_renders_reports_from_its_own_files(installed: Path, tmp_path: Path) -> None:
    code = (
        "import pathlib, edgemill, pipelines.report.render as render\n"
        "from datetime import datetime, timezone\n"
        "from pipelines.report.summary import RunSummary\n"
        "began = datetime(2026, 1, 1, tzinfo=timezone.utc)\n"
        "summary = RunSummary(pipeline='small', run_id='r', started=began, verdict='failed')\n"
        "print(edgemill.__file__, '<h1>small' in render.render_report(summary))"
    )
    done = finished([installed / "python", "-c", code], cwd=tmp_path, env=outside())
    place, rendered = done.stdout.split()
    assert Path(place).is_relative_to(installed.parent), done.stderr
    assert rendered == "True"


def test_version_is_the_same_wherever_it_is_written() -> None:
    citation = yaml.safe_load(Path("CITATION.cff").read_text())
    assert citation["version"] == VERSION
    newest = re.search(r"^## \[(\d[\d.]*)\] - (\d{4}-\d{2}-\d{2})$", Path("CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert (newest[1], newest[2]) == (VERSION, str(citation["date-released"]))
    images = [
        Path("kubeflow/environment.example.yaml"),
        Path("docs/kubeflow.md"),
        Path("docs/install.md"),
        Path("Containerfile"),
    ]
    for file in images:
        assert set(re.findall(r"edgemill[:-](\d[\d.]*\d)", file.read_text())) == {VERSION}, file


def test_container_file_copies_only_what_exists_and_what_the_context_holds() -> None:
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", Path("Containerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    allowed = {line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")}
    # `ca.pem*`: the file can be missing.
    assert {name.removesuffix("*") for name in names} == allowed
    assert all(Path(name).exists() for name in names if not name.endswith("*"))


def test_hook_refuses_a_commit_that_the_linter_refuses(tmp_path: Path) -> None:
    for arguments in (["init", "--quiet"], ["config", "core.hooksPath", str(Path(".githooks").resolve())]):
        finished(["git", "-C", tmp_path, *arguments], check=True)
    tools = tmp_path / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name, code in (("codespell", "exit 0"), ("python", "exit 0"), ("ruff", "! grep -q wrong module.py")):
        (tools / name).write_text(f"#!/bin/sh\n{code}\n")
        (tools / name).chmod(0o755)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]

    def commits(content: str) -> bool:
        (tmp_path / "module.py").write_text(content)
        finished(["git", "-C", tmp_path, "add", "module.py"], check=True)
        command = ["git", "-C", tmp_path, *identity, "commit", "--quiet", "--message", "x"]
        return finished(command).returncode == 0

    assert not commits("wrong")
    assert commits("right")

"""Every shell command in the documents is run here, or checked as far as possible, with the reason in one table."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from components.device_client.command_line import parse
from components.push.several import publish
from components.spec.registry import LocalRegistry
from edgemill.main import app
from tests.components.push.places import MODEL, manifest_of
from tests.pipelines.history.conftest import PastRoot
from tests.test_docs import CURRENT, blocks

# Beginning of a command -> why it isn't run here. Commands of Edgemill are parsed all the same, and files must exist.
NOT_RUN = {
    "make": "takes minutes; CI runs the targets",
    "edgemill optimize": "tests/e2e/test_own_kinds.py runs the tutorials, and such commands",
    "edgemill inspect": "tests/e2e/test_own_kinds.py runs it as the page says",
    "python tests/own_models.py": "tests/e2e/test_own_kinds.py runs it as the page says",
    "cd": "tests/e2e/test_own_kinds.py runs it as the page says",
    "edgemill run": "trains; tests/e2e/test_run.py runs pipelines",
    ".venv/bin/edgemill run": "trains; tests/e2e/test_run.py runs pipelines",
    ".venv/bin/edgemill validate pipeline.yaml --deep": "tests/e2e/test_readme.py runs it on the README's files",
    "edgemill verify": "needs the metadata of a run; tests/e2e/test_run.py",
    "edgemill lineage": "needs the metadata of a run; tests/e2e/test_run.py",
    "edgemill explain": "needs the metadata of a run; tests/e2e/test_run.py",
    "edgemill clean": "needs the metadata of a run; tests/e2e/test_clean.py",
    "edgemill push": "needs a staged run; tests/pipelines/runs/test_pushing.py",
    "edgemill serve": "serves until it is stopped; tests/edgemill/test_serve.py and tests/servers/test_results_page.py",
    "edgemill --install-completion": "changes the user's shell",
    "edgemill compile": "tests/kubeflow/test_compile.py compiles the same pipeline",
    "edgemill submit": "needs a cluster; tests/kubeflow/test_submit.py submits to its own server",
    "edgemill schedule": "imports kfp; tests/kubeflow/test_schedule.py",
    "edgemill registry init s3:": "needs a bucket; tests/components/trust/test_signed_registries.py signs one",
    "edgemill registry delegate s3:": "needs a bucket; tests/components/trust/test_signed_registries.py signs one",
    "kubectl": "needs a cluster",
    "python -m benchmarks": "takes minutes; tests/benchmarks tests the parts",
    "edgemill registry rotate /srv/registry timestamp --public-key": "needs AWS KMS; tests/components/trust",
    "edgemill registry repair": "needs a bucket; tests/edgemill/test_upkeep_commands.py",
    "edgemill registry mirror": "needs an OCI registry; tests/components/push/test_upkeep.py",
    "edgemill-device": "needs a web server; tests/components/device_client/test_pull.py",
    "gcc": "tests/components/device_client/test_gateway.py compiles the same sources",
    "openssl ec": "reads the key that the line before it writes",
    "tail -c 65": "reads the key that the line before it writes",
    "./check_release": "needs a gateway; tests/components/device_client/test_gateway.py runs the same program",
    "tests/next_generation.sh": "sets up another system, as root",
    "kubeflow/build_image.sh": "builds an image, as root; tests/kubeflow/containers.sh",
    "docker": "needs a daemon; tests/test_packaging.py checks the container file",
    "skopeo": "needs a registry; tests/components/push/test_oci_registry.py reads releases with it",
    "uv": "downloads 2 GB; `make test-wheel` runs these lines: tests/fresh_wheel.sh",
    "python3 -m venv": "tests/fresh_wheel.sh",
    "~/edgemill/bin/edgemill doctor": "tests/fresh_wheel.sh",
    "pip install": "downloads packages; tests/fresh_wheel.sh installs the wheel with the extra",
    ". torch-env": "an environment for PyTorch, which the locks don't hold",
    "python -m apache_beam": "serves until it is stopped; tests/servers/beam_services.py",
    ".venv/bin/python -m benchmarks.zoo": "takes minutes; `make zoo`",
    "export EDGEMILL_KEYS=registry-keys": "for the lines after it",
    "export PATH": "for the lines after it",
}
# The generated page holds usages instead of commands.
PAGES = [path for path in CURRENT if path != Path("docs/reference/commands.md")]
RELEASE, RUN_ID = "3f2a9c0d1e2b4f56", "20260701-020000-1f0a3c"


def lines_of(block: str) -> Iterator[str]:
    """The commands of a block without comments, redirections, and what puts them into the background."""
    for line in block.replace("\\\n", " ").splitlines():
        words = re.sub(r"(^|\s+)#.*", "", line).strip().removesuffix("&").partition(" > ")[0]
        if words:
            yield " ".join(words.split())


BLOCKS = {f"{path}-{number}": list(lines_of(block))
          for path in PAGES for number, block in enumerate(blocks(str(path), "sh"))}  # fmt: skip


def reason(line: str) -> str | None:
    return next((name for name in NOT_RUN if f"{line} ".startswith(f"{name} ")), None) or next(
        (name for name in NOT_RUN if line.startswith(name)), None
    )


def test_every_command_is_run_or_has_a_reason_not_to_be() -> None:
    lines = [line for block in BLOCKS.values() for line in block]
    assert len(lines) > 80
    assert NOT_RUN.keys() - {reason(line) for line in lines} == set(), "no command has this reason"
    named = {file for text in NOT_RUN.values() for file in re.findall(r"tests/[\w/]+(?:\.\w+)?", text)}
    assert [file for file in named if not Path(file).exists()] == []


def parse_edgemill(arguments: list[str]) -> None:
    # Parses without running anything, and raises for an unknown command, option, or value.
    if arguments[0].startswith("-"):
        typer.main.get_group(app).make_context("edgemill", arguments, resilient_parsing=True)
        return
    command = typer.main.get_group(app)
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    # This file must exist.
    command.make_context(name, [word.replace("timestamp.pem", "LICENSE") for word in arguments])


def parse_device(arguments: list[str]) -> None:
    parse(arguments)


def check_make(arguments: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", Path("Makefile").read_text(), re.MULTILINE))
    assert set(arguments) <= targets


def check_python(arguments: list[str]) -> None:
    if arguments[0] != "-m":
        assert Path(arguments[0]).is_file()
        return
    package, _, inner = arguments[1].partition(".")
    found = importlib.util.find_spec(package)
    assert found is not None
    if inner:
        place = Path(next(iter(found.submodule_search_locations or ())), *inner.split("."))
        assert place.is_dir() or place.with_suffix(".py").is_file()


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "edgemill": parse_edgemill,
    "edgemill-device": parse_device,
    "make": check_make,
    "python": check_python,
    "python3": check_python,
}


@pytest.mark.parametrize("lines", BLOCKS.values(), ids=BLOCKS)
def test_command_has_only_words_that_its_program_knows(lines: list[str]) -> None:
    for line in lines:
        name, *arguments = shlex.split(line)
        if (check := CHECKS.get(Path(name).name)) is not None:
            check(arguments)
        elif name.startswith(("tests/", "kubeflow/")):
            assert os.access(name, os.X_OK), line
            code = Path(name).read_text()
            assert [option for option in arguments if option.startswith("--") and option not in code] == []
        for word in arguments:
            if re.match(r"(tests|kubeflow|components|pipelines|requirements)/", word):
                assert list(Path().glob(word)), f"{word} of {line!r} does not exist"


@pytest.mark.parametrize("file", sorted(Path("docs").rglob("*.md")), ids=str)
def test_units_of_systemd_hold_commands_that_parse(file: Path) -> None:
    for block in blocks(str(file), "ini"):
        for command in re.findall(r"^Exec\w+=(.+)$", block, re.MULTILINE):
            name, *arguments = shlex.split(command)
            CHECKS[Path(name).name](arguments)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Words of the pages -> what stands for them here, in the working directory. There are two runs in the root."""
    past = PastRoot(tmp_path / "build" / "edgemill")
    run_id, newest = past.run(0, report=False), past.run(1, report=False)
    for each in (run_id, newest):
        (past.folder(each) / "report.html").write_text("<p>a report")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROWSER", "true")
    # The module registers browsers once per process.
    # With a screen, the module asks the desktop for its browser, without a limit of time.
    for screen in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(screen, raising=False)
    monkeypatch.setattr("webbrowser._tryorder", None)
    example = Path(__file__).parents[1] / "kubeflow" / "environment.example.yaml"
    Path("environment.yaml").write_text(example.read_text())
    here = {name: str(tmp_path / name) for name in ("keys", "registry")}
    return {"/srv/registry-keys": here["keys"], "/srv/registry": here["registry"], "/srv/mill": str(past.root),
            RUN_ID: run_id}  # fmt: skip


def signed(places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The same words with a release: an older one is in the channel `stable`, and a newer one in `canary`."""
    root, keys = places["/srv/registry"], places["/srv/registry-keys"]
    assert CliRunner().invoke(app, ["registry", "init", root, "--keys", keys]).exit_code == 0
    monkeypatch.setenv("EDGEMILL_KEYS", keys)
    version = ""
    for model, channel in ((MODEL, "stable"), (MODEL[::-1], "canary")):
        places_of = [LocalRegistry(root=root, channel=channel)]
        (release,), _ = publish(places_of, "phone", "shoes", model, manifest_of(model))
        version = release.version
    printed = CliRunner().invoke(app, ["registry", "public-key", root, "root", "--json"]).stdout
    (key_id,) = re.findall(r'"([0-9a-f]{64})"', printed)[:1] or [""]
    return {**places, RELEASE: version, "0d21f16f": key_id[:8]}


@pytest.mark.parametrize(
    "lines", [pytest.param(found, id=name) for name, lines in BLOCKS.items()
              if (found := [line for line in lines if reason(line) is None])]
)  # fmt: skip
def test_command_runs(lines: list[str], places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    if any("/srv/registry" in line for line in lines) and "registry init" not in lines[0]:
        places = signed(places, monkeypatch)
    for line in lines:
        for word, here in places.items():
            line = line.replace(word, here)  # noqa: PLW2901
        name, *arguments = shlex.split(line)
        if name == "export":
            monkeypatch.setenv(*arguments[0].split("=", 1))
            continue
        assert Path(name).name == "edgemill"
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, f"{line}: {done.output}"

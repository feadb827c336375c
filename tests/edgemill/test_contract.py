"""Every command has --json and --quiet, and prints one JSON document, also for an error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer
from typer.testing import CliRunner

from components.core.errors import ModelError, SpecError
from components.device_client.command_line import completion
from components.device_client.main import main as device
from components.push.several import publish
from components.spec.registry import LocalRegistry
from edgemill.contract import contracted, print_json
from edgemill.main import app
from pipelines.file.load import PipelineFileError
from tests.components.push.places import MODEL, manifest_of
from tests.pipelines.history.conftest import PastRoot
from tests.processes import finished

PARTS = {"kind", "what", "where", "expected", "found", "remedy"}
NONE = "/nonexistent/x"
# A command line that each command refuses, after it was parsed. NONE is a path that doesn't exist.
REFUSED: dict[str, list[str]] = {
    "run": [f"{NONE}.yaml"],
    "validate": [f"{NONE}.yaml"],
    "doctor": ["--environment", f"{NONE}.yaml"],
    "schema": [],
    "inspect": [f"{NONE}.tflite"],
    "init": ["--model", f"{NONE}.keras", "--data", NONE],
    "optimize": [f"{NONE}.keras", "--data", NONE],
    "runs": ["--root", NONE],
    "compare": ["latest", "latest", "--root", NONE],
    "explain": ["latest", "int8", "--root", NONE],
    "open": ["latest", "--root", NONE],
    "serve": ["--root", NONE],
    "report": ["latest", "--root", NONE],
    "lineage": [f"{NONE}.tflite", "--root", NONE],
    "verify": ["latest", "--root", NONE],
    "push": ["latest", "--root", NONE],
    "clean": ["--root", NONE, "--keep-runs", "1"],
    "rollback": [NONE, "--root", NONE],
    "compile": [f"{NONE}.yaml", "-o", "y.yaml", "-e", f"{NONE}.yaml"],
    "submit": [f"{NONE}.yaml", "-e", f"{NONE}.yaml"],
    "schedule": [f"{NONE}.yaml", "--cron", "0 2 * * *"],
    "registry init": ["s3://", "--keys", "/dev/null/keys"],
    "registry status": [NONE],
    "registry delegate": [NONE, "phone"],
    "registry promote": [f"{NONE}/phone/shoes/0123456789ab"],
    "registry rollback": [f"{NONE}/phone/shoes"],
    "registry pause": [f"{NONE}/phone/shoes"],
    "registry refresh": [NONE],
    "registry public-key": [NONE, "root"],
    "registry rotate": [NONE, "root"],
    "registry verify": [NONE],
    "registry gc": [NONE],
    "registry repair": [NONE],
    "registry mirror": [NONE, "/nonexistent/y"],
    "registry audit": [NONE],
}


def commands(group: Any = None, before: str = "") -> Iterator[tuple[str, Any]]:
    """The commands of the parser, with the names of their groups in front."""
    for name, command in (group or typer.main.get_group(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


COMMANDS = dict(commands())


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("name", COMMANDS)
def test_command_has_the_options_that_all_have(name: str) -> None:
    options = {option: parameter for parameter in COMMANDS[name].params for option in parameter.opts}
    assert [options[one].is_flag for one in ("--json", "--quiet", "-q")] == [True] * 3


@pytest.mark.parametrize("name", COMMANDS)
def test_refusal_is_one_json_document(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = REFUSED[name]
    for arguments in [refused, [*refused, "--no-such-option"]] if refused else [["--no-such-option"]]:
        done = invoke(*name.split(), *arguments, "--json")
        document = json.loads(done.stdout)
        assert set(document["error"]) - {"errors"} == PARTS
        assert document["error"]["what"]
        assert document["error"]["remedy"]
        assert (done.exit_code, bool(done.exit_code)) == (document["exit_status"], True)
        assert done.stderr
        assert invoke(*name.split(), *arguments, "--quiet").stdout == ""


def test_errors_in_one_file_are_listed(tmp_path: Path) -> None:
    one = ModelError("it is wrong", where="a", bound=1, measured=Path("b"), remedy="correct it")
    found = PipelineFileError(tmp_path, [one, SpecError("no", remedy="yes")]).as_json()
    assert (found["kind"], [error["what"] for error in found["errors"]]) == ("PipelineFileError", ["it is wrong", "no"])  # type: ignore[attr-defined]
    assert one.as_json() == {
        "kind": "ModelError", "what": "it is wrong", "where": "a", "expected": "1", "found": "b", "remedy": "correct it"
    }  # fmt: skip


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Two past runs, and a signed registry with two releases."""
    past = PastRoot(tmp_path / "root")
    run = past.run(0)
    past.run(1)
    registry, keys = tmp_path / "registry", tmp_path / "keys"
    assert invoke("registry", "init", str(registry), "--keys", str(keys), "--json").exit_code == 0
    with mock.patch.dict(os.environ, {"EDGEMILL_KEYS": str(keys)}):
        for model in (MODEL, MODEL[::-1]):
            spec = LocalRegistry(root=str(registry), channel="stable")
            (release,), _ = publish([spec], "phone", "shoes", model, manifest_of(model))
        yield {
            "ROOT": str(past.root), "RUN": run, "REGISTRY": str(registry), "PLACE": f"{registry}/phone/shoes",
            "RELEASE": f"{registry}/phone/shoes/{release.version}", "NEW": str(tmp_path / "new"),
        }  # fmt: skip


def test_results_are_one_json_document_and_nothing_with_quiet(
    places: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda _: True)
    for line in (
        "--version",
        "schema",
        "validate pipelines/fashion_mnist/pipeline.yaml",
        "doctor --root ROOT",
        "runs --root ROOT",
        "compare RUN latest --root ROOT",
        "open latest --root ROOT",
        "registry status REGISTRY",
        "registry delegate REGISTRY watch",
        "registry promote RELEASE --percent 5",
        "registry pause PLACE",
        "registry rollback PLACE",
        "registry refresh REGISTRY",
        "registry public-key REGISTRY root",
        "registry rotate REGISTRY timestamp",
        "registry verify REGISTRY",
        "registry gc REGISTRY",
        "registry repair REGISTRY",
        "registry mirror REGISTRY NEW",
        "registry audit REGISTRY",
    ):
        words = [places.get(word, word) for word in line.split()]
        done = invoke(*words, "--json")
        assert (done.exit_code, "error" in json.loads(done.stdout)) == (0, False), (line, done.output)
        if line != "registry rollback PLACE":
            done = invoke(*words, "--quiet")
            assert (done.exit_code, done.stdout) == (0, ""), line


def test_damage_that_is_found_stays_in_the_document_of_the_error(places: Mapping[str, str]) -> None:
    (Path(places["RELEASE"]) / "model.tflite").write_bytes(b"")
    done = invoke("registry", "verify", places["REGISTRY"], "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["intact"], document["error"]["kind"]) == (1, False, "RegistryError")
    assert places["RELEASE"].endswith(document["problems"][0]["where"])


def test_options_of_the_version_are_refused_beside_a_command() -> None:
    done = invoke("--json", "schema")
    assert (done.exit_code, "after the command" in json.loads(done.stdout)["error"]["what"]) == (2, True)
    done = invoke("--quiet", "schema")
    assert (done.exit_code, "Put --quiet after the command: edgemill schema --quiet" in done.stderr) == (2, True)


def test_only_the_document_reaches_standard_output_whatever_code_prints() -> None:
    code = """
import ctypes, os, sys, typer
from edgemill.contract import contracted, print_json
def work():
    print_json({"nan": float("nan"), "bad": "\\udcff"})
    print("of Python")
    os.write(1, b"of a descriptor\\n")
    ctypes.CDLL(None).puts(b"of C")
    ctypes.CDLL(None).fflush(None)
    return 3
app = typer.Typer()
app.command()(contracted(work))
app(["--json"])
"""
    done = finished([sys.executable, "-c", code])
    assert (done.returncode, json.loads(done.stdout)) == (3, {"nan": None, "bad": "\\udcff"}), done.stderr
    assert done.stderr.splitlines() == ["of a descriptor", "of C"]


def test_unforeseen_error_is_a_document_and_raises() -> None:
    def work() -> None:
        print_json({"before": 1})
        raise ZeroDivisionError("nobody foresaw this")

    one = typer.Typer()
    one.command()(contracted(work))
    done = CliRunner().invoke(one, ["--json"])
    document = json.loads(done.stdout)
    assert (document["before"], document["error"]["kind"]) == (1, "ZeroDivisionError")
    assert isinstance(done.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    "arguments",
    [
        ["init", NONE, "--url", "ftp://x", "--root", NONE, "--device-class", "a", "--name", "b", "--device-id", "c"],
        ["pull", NONE],
        ["status", NONE],
        ["completion", "tcsh"],
        ["pull"],
    ],
    ids=" ".join,
)
def test_device_client_keeps_the_contract(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = device([*arguments, "--json"])
    except SystemExit as end:
        code = int(end.code or 0)
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (set(document["error"]), document["exit_status"]) == (PARTS, code)
    assert (bool(code), bool(printed.err)) == (True, True)


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("bash", "COMP_WORDS=(edgemill-device pull --re); COMP_CWORD=2; _edgemill_device; echo ${COMPREPLY[@]}"),
        ("zsh", "echo $+functions[_edgemill_device] --retry"),
        ("fish", "complete -C 'edgemill-device pull --re'"),
    ],
)
def test_device_client_completes_in_shells(shell: str, code: str) -> None:
    if not any((Path(folder) / shell).exists() for folder in os.environ["PATH"].split(os.pathsep)):
        pytest.skip(f"{shell} is not installed")
    script = completion(shell)
    if shell == "zsh":
        script = f"autoload -U +X compinit && compinit -u -D\n{script}"
    done = finished([shell, "-c", f"{script}\n{code}"])
    assert "--retry" in done.stdout.split(), done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_complete_in_shells(shell: str) -> None:
    """What each shell's script asks for: every command, and the options of the commands of a group."""
    for words, expected in (
        ("edgemill ", {name.split()[0] for name in COMMANDS}),
        ("edgemill registry ", {name.split()[1] for name in COMMANDS if " " in name}),
        ("edgemill registry gc --", {"--json", "--quiet", "--keep-last"}),
        ("edgemill runs --", {"--json", "--quiet", "--last"}),
    ):
        count = len(words.split()) - (not words.endswith(" "))
        asked = {
            "bash": {"COMP_WORDS": words, "COMP_CWORD": str(count), "_EDGEMILL_COMPLETE": "complete_bash"},
            "zsh": {"_TYPER_COMPLETE_ARGS": words, "_EDGEMILL_COMPLETE": "complete_zsh"},
            "fish": {
                "_TYPER_COMPLETE_ARGS": words,
                "_TYPER_COMPLETE_FISH_ACTION": "get-args",
                "_TYPER_COMPLETE_WORD_TO_COMPLETE": "",
                "_EDGEMILL_COMPLETE": "complete_fish",
            },
        }[shell]
        said = CliRunner().invoke(app, [], env=asked, prog_name="edgemill").stdout
        assert all(name in said for name in expected), (words, said)

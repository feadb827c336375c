"""What `edgemill init` and `optimize` say of paths and names that lead nowhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edgemill.main import app


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "my_model.keras").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "images" / "cats").mkdir(parents=True)
    (tmp_path / "weather.csv").write_text("a,label\n1,2\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("my_modle.keras", "did you mean my_model.keras?"),
        ("my_model", "did you mean my_model.keras?"),
        (
            "x/y/my_model.keras",
            "of its folders, only the working directory exists, and it contains images/, my_model.keras",
        ),
        ("zzz", "and the working directory contains images/, my_model.keras"),
        ("images/zzz", "and images contains cats/"),
    ],
)
def test_wrong_path_of_a_model_names_what_is_near(folder: Path, model: str, words: str) -> None:
    output = invoke("init", "--model", model, "--data", "images", "--device", "phone_cpu").output
    assert "--model: there is no such file or folder (expected: a SavedModel folder" in output
    assert f"found: {model}, nothing). Remedy: " in output and words in output
    assert "notes.txt" not in output and "baseline.path" not in output
    assert "  - MODEL: there is no such file" in invoke("optimize", model, "--data", "nothing").output


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("image", "did you mean images?"),
        ("weather", "did you mean weather.csv?"),
        ("zzz", "contains images/, weather.csv"),
    ],
)
def test_wrong_path_of_data_names_what_is_near(folder: Path, data: str, words: str) -> None:
    output = invoke("init", "--model", "zzz", "--data", data).output
    assert "--data: there is no such file or folder (expected: a folder of class folders" in output
    assert f"found: {data}, nothing). Remedy: " in output and words in output


def test_all_wrong_names_of_a_command_line_are_reported_at_once(folder: Path) -> None:
    done = invoke(
        "init", "--model", "zzz", "--data", "zzz", "--device", "cortex_m5", "--device", "phone_cpu", "--device", "phone"
    )
    heading, *errors = done.stderr.splitlines()
    assert (done.exit_code, heading) == (2, "edgemill: 4 errors in the command line")
    assert [line.partition(":")[0] for line in errors] == ["  - --model", "  - --device", "  - --device", "  - --data"]
    assert "there is no device profile 'cortex_m5'; did you mean 'cortex_m55'?" in errors[1]
    assert "one of " in errors[1] and "correct the name, or write a profile" in errors[1]


def test_optimize_as_json_prints_the_status_even_if_a_path_is_wrong(folder: Path) -> None:
    done = invoke("optimize", "my_modle.keras", "--data", "images", "--json", "--summary-json", "status.json")
    status = json.loads(done.stdout)
    assert (done.exit_code, status["state"], status["exit_status"]) == (2, "ended", 2)
    assert "did you mean my_model.keras?" in status["errors"][0]
    assert status["pipeline_file"] == "my_modle/pipeline.yaml"
    assert "did you mean my_model.keras?" in status.pop("error")["errors"][0]["remedy"]
    assert json.loads((folder / "status.json").read_text()) == status

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgemill.main import app
from pipelines.storage.metadata_connection import open_store
from tests.pipelines.runs.recorded_runs import RecordedRuns
from tests.processes import finished
from tests.small_pipeline import TASK, SmallPipeline

HEAVY = ("tensorflow", "tf_keras", "tfx", "apache_beam", "tensorflow_model_analysis", "matplotlib", "kfp")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["compile", "--help"],
        ["submit", "--help"],
        ["schedule", "--help"],
        ["--version"],
        ["schema"],
        ["doctor"],
        ["validate", "pipelines/fashion_mnist/pipeline.yaml"],
    ],
    ids=" ".join,
)
def test_command_imports_no_heavy_module(arguments: list[str]) -> None:
    code = f"""
import sys
from edgemill.main import main
sys.argv = ["edgemill", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert end.code in (0, None), end.code
print("heavy:", [m for m in {HEAVY!r} if m in sys.modules])
"""
    done = finished([sys.executable, "-c", code])
    assert done.stdout.splitlines()[-1] == "heavy: []", done.stderr


def test_commands_find_ours_where_another_package_is_called_kubeflow(tmp_path: Path) -> None:
    (tmp_path / "kubeflow").mkdir()
    (tmp_path / "kubeflow" / "__init__.py").write_text("__version__ = '0.1'\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import kubeflow
assert kubeflow.__version__
from edgemill.main import main
sys.argv = ["edgemill", "compile", "x.yaml", "-o", "y.yaml"]
main()
"""
    done = finished([sys.executable, "-c", code])
    assert (done.returncode, "environment.yaml" in done.stderr) == (2, True), done.stderr


def test_help_prints_every_help_text_whole() -> None:
    lost = {
        (name, parameter.name)
        for name, command in typer.main.get_group(app).commands.items()
        for parameter in command.params
        if parameter.help not in " ".join(CliRunner().invoke(app, [name, "--help"]).output.split())
    }
    assert lost == set()


def test_list_of_commands_cuts_no_sentence() -> None:
    listed = CliRunner().invoke(app, ["--help"], terminal_width=80).output
    assert [line for line in listed.splitlines() if line.startswith("  ") and line.endswith("...")] == []


def test_version_is_that_of_the_package_with_the_generation_and_the_libraries() -> None:
    lines = CliRunner().invoke(app, ["--version"]).output.splitlines()
    assert lines[0] == f"edgemill {version('edgemill')}"
    assert lines[1].startswith(f"generation TFX {'.'.join(version('tfx').split('.')[:2])} (Python 3.")
    assert f"tfx {version('tfx')}" in lines


@pytest.mark.parametrize(
    ("file", "title"),
    [
        ((), "PipelineSpec"),
        (("pipeline",), "PipelineSpec"),
        (("device",), "DeviceProfile"),
        (("environment",), "EnvironmentFile"),
        (("card",), "CardFacts"),
    ],
)
def test_schema_is_json_for_each_file(file: tuple[str, ...], title: str) -> None:
    result = CliRunner().invoke(app, ["schema", *file])
    assert json.loads(result.output)["title"] == title


def test_schema_of_an_unknown_file_is_refused() -> None:
    result = CliRunner().invoke(app, ["schema", "cards"])
    assert result.exit_code == 2
    assert "card" in result.stderr and "environment" in result.stderr


def test_validate_says_what_is_valid(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["validate", str(SmallPipeline(tmp_path).write())])
    assert (result.exit_code, "valid (2 recipes for 1 device)" in result.output) == (0, True)


def test_validate_reports_errors_and_ends_with_the_status_of_bad_input(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path)
    small.spec["nmae"] = small.spec.pop("name")
    result = CliRunner().invoke(app, ["validate", str(small.write())])
    assert result.exit_code == 2
    assert "did you mean 'name'?" in result.output


def test_validate_deep_imports_the_task(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, "import nowhere_at_all\nTASK = 1\n")
    assert CliRunner().invoke(app, ["validate", str(small.write())]).exit_code == 0
    result = CliRunner().invoke(app, ["validate", "--deep", str(small.file)])
    assert result.exit_code == 2
    assert "No module named 'nowhere_at_all'" in result.output


def before(line: str, put: str) -> str:
    """The small task with a statement before one of its lines."""
    return TASK.replace(f"        {line}", f"        {put}\n        {line}")


@pytest.mark.parametrize(
    ("task", "said", "function"),
    [
        ("import sys\nsys.exit(0)\nTASK = 1\n", "SystemExit(0)", "<module>, line 2"),
        ("import os\nos._exit(0)\nTASK = 1\n", "os._exit(0)", "<module>, line 2"),
        ("while True:\n    pass\nTASK = 1\n", "does not return (expected: 2 s", "<module>, line "),
        (before("return tf.reshape(", "raise SystemExit(0)"), "SystemExit(0)", "decode, line"),
        (before("return tf.reshape(", "import os; os._exit(0)"), "os._exit(0)", "decode, line"),
        (before("return tf.reshape(", "while True: pass"), "does not return (expected: 2 s", "decode, line"),
        (before("layers = tf.keras", "raise SystemExit(0)"), "SystemExit(0)", "build_model, line"),
    ],
)
def test_exit_or_endless_loop_in_the_task_is_an_error_that_names_its_line(
    tmp_path: Path, task: str, said: str, function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "not return" in said:
        monkeypatch.setenv("EDGEMILL_USER_CODE_SECONDS", "2")
    small = SmallPipeline(tmp_path, task)
    checked = CliRunner().invoke(app, ["validate", "--deep", str(small.write())])
    assert said in checked.output
    assert (checked.exit_code, function in checked.output) == (2, True)
    status = tmp_path / "s.json"
    ran = CliRunner().invoke(
        app, ["run", str(small.file), "--summary-json", str(status), "--root", str(tmp_path / "root")]
    )
    written = json.loads(status.read_text())
    assert (ran.exit_code, written["state"], written["exit_status"]) == (2, "ended", 2)
    assert function in written["errors"][0]


def test_native_exit_of_the_task_is_no_success(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, "import ctypes\nctypes.CDLL(None)._exit(0)\nTASK = 1\n")
    command = [str(Path(sys.executable).parent / "edgemill"), "validate", "--deep", str(small.write())]
    ended = finished(command)
    assert ended.returncode == 1, ended.stdout
    assert "the process ended with status 0 before its work was done" in ended.stderr


def test_working_directory_that_is_gone_and_output_that_cannot_be_written_are_reported_in_one_line(
    tmp_path: Path,
) -> None:
    gone = "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')"
    script = f"{gone}; from edgemill.main import main; main()"
    for arguments in (["validate", "p.yaml"], ["run", "p.yaml"], ["verify", "latest"], ["clean", "--keep-runs", "1"]):
        ended = finished([sys.executable, "-c", script, *arguments], cwd=tmp_path)
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
        assert "the working directory no longer exists" in ended.stderr
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = finished([sys.executable, "-m", "edgemill", "schema"], stdout=full)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
    assert "No space left on device" in ended.stderr


@pytest.mark.parametrize("library", ["h5py", "pyarrow"])
def test_validate_imports_no_library_from_the_folder_of_the_pipeline_file(tmp_path: Path, library: str) -> None:
    small = SmallPipeline(tmp_path)
    (tmp_path / f"{library}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    if library == "h5py":
        (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
        small.spec["baseline"] = {"kind": "pretrained", "path": "model.h5"}
    else:
        small.spec["examples"]["kind"] = "parquet"
    command = [sys.executable, "-m", "edgemill", "validate", str(small.write())]
    ended = finished(command)
    assert ended.returncode == 2, ended.stderr
    assert "the module" not in ended.stderr
    assert not (tmp_path / "executed").exists()


def test_root_that_tfx_would_read_as_a_pattern_is_refused_before_it_is_made(tmp_path: Path) -> None:
    root = tmp_path / "exp[1]"
    result = CliRunner().invoke(app, ["run", str(SmallPipeline(tmp_path).write()), "--root", str(root)])
    assert (result.exit_code, "TFX reads the characters [ of a path as a pattern" in result.output) == (2, True)
    assert not root.exists()


def test_task_that_is_a_class_is_an_error_that_says_so(tmp_path: Path) -> None:
    small = SmallPipeline(tmp_path, TASK.replace("TASK = Task()", "TASK = Task"))
    checked = CliRunner().invoke(app, ["validate", "--deep", str(small.write())])
    assert checked.exit_code == 2
    assert "is a class" in checked.output and "TASK = Task()" in checked.output


def test_inspect_refuses_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"no model at all")
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "m.tflite")])
    assert result.exit_code == 2
    assert "Remedy: " in result.output
    (tmp_path / "notes.md").write_text("# Notes on the model\n")
    other = CliRunner().invoke(app, ["inspect", str(tmp_path / "notes.md")])
    assert (other.exit_code, f"{tmp_path / 'notes.md'}: this is not a TFLite file" in other.output) == (2, True)
    missing = CliRunner().invoke(app, ["inspect", str(tmp_path / "nothing.tflite")])
    assert "cannot be read: No such file or directory" in missing.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["clean", "--keep-runs", "1"],
        ["clean", "--keep-runs", "1", "--dry-run"],
        ["report"],
        ["lineage", "model.tflite"],
    ],
    ids=" ".join,
)
def test_commands_that_read_create_neither_a_root_nor_a_metadata_store(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for root in ("nosuch", "empty"):
        result = CliRunner().invoke(app, [*arguments, "--root", str(tmp_path / root)])
        assert (result.exit_code, "there is no metadata store" in result.output) == (2, True), result.output
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty"]


def test_clean_refuses_days_without_end(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["clean", "--older-than", "inf", "--root", str(tmp_path)])
    assert (result.exit_code, "this is not a number of days" in result.output) == (2, True), result.output


def test_report_of_unknown_run_is_an_error(tmp_path: Path) -> None:
    open_store(f"sqlite:{tmp_path}/metadata.sqlite")
    result = CliRunner().invoke(app, ["report", "20200101-000000-abcdef", "--root", str(tmp_path)])
    assert result.exit_code == 2
    assert "there is no such run" in result.output


def test_verify_names_the_latest_run_and_passes_none_without_artifacts(tmp_path: Path) -> None:
    recorded = RecordedRuns(tmp_path, "shoes")
    recorded.made(recorded.run("20260101-000000-abcdef", days_ago=0), "model", lost=True)
    result = CliRunner().invoke(app, ["verify", "latest", "--root", str(tmp_path)])
    assert result.exit_code == 1
    assert "run 20260101-000000-abcdef of shoes\n" in result.output
    assert "20260101-000000-abcdef: this run has no artifact yet" in result.output
